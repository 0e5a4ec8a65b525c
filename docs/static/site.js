// The illustrated pass, in its frame, is dark where the site is.
document.addEventListener("DOMContentLoaded", () => {
  const frame = document.querySelector("iframe.illustrated");
  if (!frame) return;
  const root = document.documentElement;
  const follow = () => {
    // Of a file opened from disk the browser does not let us see into the frame, and of a page that
    // has just begun to load there is nothing to see.
    const inner = frame.contentDocument?.documentElement;
    if (inner) inner.dataset.theme = root.dataset.theme;
  };
  frame.addEventListener("load", follow);
  new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });
  follow();
});
