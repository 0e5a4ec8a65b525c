// The illustrated pass, in its frame, is dark where the site is.
document.addEventListener("DOMContentLoaded", () => {
  const frame = document.querySelector("iframe.illustrated");
  if (!frame) return;
  const root = document.documentElement;
  const follow = () => {
    // Of a file opened from disk the browser does not let us see into the frame.
    if (frame.contentDocument) frame.contentDocument.documentElement.dataset.theme = root.dataset.theme;
  };
  frame.addEventListener("load", follow);
  new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });
  follow();
});
