// The diagonal linear recurrence h_t = a_t h_{t-1} + b_t and its derivative, real or complex. Each is
// one pass over its arrays in the order that they lie in memory, with the state in a buffer that the
// first-level cache holds. setup.py compiles this file once for every instruction set.

#include "isa.h"
#include "kernels.h"
#include "loop.h"
#include "simd.h"

namespace rnnjax::RNNJAX_ISA {
// In the place of a number of lanes: all of them.
struct WholeVector {};

template <typename T>
inline Vec<T> load(const T* p, WholeVector) {
  return load(p);
}

template <typename T>
inline void store(T* p, Vec<T> v, WholeVector) {
  store(p, v);
}

namespace {

// The product of vectors entry by entry; complex numbers are real and imaginary parts in turn.
template <typename T, bool kComplex>
struct Product {
  Vec<T> operator()(Vec<T> a, Vec<T> b) const { return a * b; }
};

template <typename T>
struct Product<T, true> {
  using Bits = typename Simd<T>::Bits;

  Product() {
    for (int i = 0; i < kLanes<T>; ++i) {
      real[i] = i & ~1, imaginary[i] = i | 1, swapped[i] = i ^ 1;
      sign[i] = T(i & 1 ? 1 : -1);
    }
  }

  // (a_re b_re - a_im b_im, a_re b_im + a_im b_re)
  Vec<T> operator()(Vec<T> a, Vec<T> b) const {
    return pick(a, real) * b + sign * pick(a, imaginary) * pick(b, swapped);
  }

 private:
  static Vec<T> pick(Vec<T> v, Bits from) {
#if defined(__clang__)
    Vec<T> picked;
    for (int i = 0; i < kLanes<T>; ++i) picked[i] = v[from[i]];
    return picked;
#else
    return __builtin_shuffle(v, from);
#endif
  }

  Bits real, imaginary, swapped;
  Vec<T> sign;
};

// body(i, size) for all n numbers, a vector at a time; the last may be shorter.
template <typename T, typename Body>
inline void for_each_vector(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) body(i, WholeVector{});
  if (i < n) body(i, n - i);
}

// Real numbers in a row of the arrays, and how they are divided among threads and blocks: a block
// is run over all steps before the next begins, so that its state stays in the first-level cache.
template <typename T>
struct Columns {
  Columns(const LinearSizes& p, int64_t parts, const Context& context)
      : features(p.features * parts), total(p.batch * features) {
    const int64_t bytes = total * p.steps * int64_t(sizeof(T));
    threads = bytes < kWorthwhile ? 1 : min(context.threads(), ceil_div(total, kLine));
  }

  static constexpr int64_t kWorthwhile = 1 << 19;          // bytes of an array
  static constexpr int64_t kLine = 64 / sizeof(T);         // a cache line
  static constexpr int64_t kBlock = (1 << 15) / sizeof(T);

  // body(columns of a block) for the part of one thread.
  template <typename Body>
  void for_each_block(int64_t thread, const Body& body) const {
    const Range lines = share(ceil_div(total, kLine), thread, threads);
    const int64_t from = lines.from * kLine, to = min(lines.to * kLine, total);
    const int64_t blocks = ceil_div(to - from, kBlock);
    for (int64_t i = 0; i < blocks; ++i)
      body(Range{from + i * kBlock, min(from + (i + 1) * kBlock, to)});
  }

  // body(columns, row) for the rows of the batch in a block; for all of them at once, with the first
  // row, where none can restart.
  template <typename Body>
  void for_each_row(const LinearSizes& p, Range block, const Body& body) const {
    for (int64_t c = block.from; c < block.to;) {
      const int64_t row = c / features;
      const int64_t end = p.begins ? min((row + 1) * features, block.to) : block.to;
      body(Range{c, end}, row);
      c = end;
    }
  }

  int64_t features, total, threads;
};

// The iterations s of the loop over time, which may run backwards; `total` numbers a step.
struct Steps {
  Steps(const LinearSizes& p, int64_t total)
      : p(p), total(total), forwards(p.reverse ? -total : total) {}

  // Where the numbers of iteration s start in an array. Those of s + 1 are `forwards` further on.
  int64_t start(int64_t s) const { return time(s) * total; }

  // Whether a row of the batch restarts in an iteration from `first` to `last`.
  bool restarts(int64_t row, int64_t first, int64_t last) const {
    for (int64_t s = first; p.begins && s <= last; ++s)
      if (p.begins[time(s) * p.batch + row]) return true;
    return false;
  }

  int64_t time(int64_t s) const { return p.reverse ? p.steps - 1 - s : s; }

  const LinearSizes& p;
  int64_t total, forwards;
};

// Iterations that a row takes together, with its state in registers: memory answers more requests at
// once sooner than one after the other.
constexpr int64_t kTogether = 4;

template <int64_t n>
struct Count {
  static constexpr int64_t value = n;
};

// Fetches the first lines of every page of a block. Hardware looks ahead within a page of memory
// alone, and is too late for the next one.
template <typename T>
inline void prefetch_pages(const T* row, int64_t size) {
  constexpr int64_t kLine = Columns<T>::kLine, kPage = 4096 / sizeof(T), kLines = 4;
  for (int64_t i = 0; i < size; i += kPage)
    for (int64_t j = i; j < min(i + kLines * kLine, size); j += kLine) __builtin_prefetch(row + j);
}

// The huge pages of an output that all threads write side by side, from one end to the other: each
// thread clears its share of them ahead of that, in turns. Left to the first write, one thread would
// clear a page while the others wait for it.
struct PagesAhead {
  PagesAhead(void* memory, int64_t bytes, bool reverse, int64_t thread, int64_t threads)
      : begin(reinterpret_cast<intptr_t>(memory)), end(begin + bytes), reverse(reverse),
        next(thread), threads(threads) {}

  // Before the thread writes at p.
  void reach(const void* p, Context& context) {
    const intptr_t first = begin / kHugePage, last = (end - 1) / kHugePage;
    const intptr_t page = reinterpret_cast<intptr_t>(p) / kHugePage;
    const int64_t stop = min((reverse ? last - page : page - first) + threads, last - first + 1);
    for (; next < stop; next += threads) {
      const intptr_t cleared = (reverse ? last - next : first + next) * kHugePage;
      const intptr_t from = cleared > begin ? cleared : begin;
      context.clear_pages(reinterpret_cast<void*>(from), min(cleared + kHugePage, end) - from);
    }
  }

  intptr_t begin, end;
  bool reverse;
  int64_t next, threads;  // the next page that this thread clears, in the order of the steps
};

// Whether outputs go past the caches, which keep no part of them until it is read again. Every row of
// the batch must consist of whole cache lines.
template <typename T>
bool streams(const LinearSizes& p, const Columns<T>& columns, const void* output) {
  return columns.total * p.steps * int64_t(sizeof(T)) >= kLargeOutput &&
         columns.features % columns.kLine == 0 && reinterpret_cast<uintptr_t>(output) % 64 == 0;
}

template <bool kStreamed, typename T, typename Lanes>
inline void put(T* p, Vec<T> v, Lanes n) {
  if constexpr (kStreamed)
    stream(p, v);
  else
    store(p, v, n);
}

template <typename T, bool kComplex, bool kStreamed>
void forward_part(const LinearForward& p, const Columns<T>& columns, int64_t thread,
                  Context& context) {
  const T *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  const T* h = static_cast<const T*>(p.h);
  T* hs = static_cast<T*>(p.hs);
  const Product<T, kComplex> times;
  const Steps steps(p, columns.total);
  const int64_t forwards = steps.forwards;
  PagesAhead pages(hs, sizeof(T) * columns.total * p.steps, p.reverse, thread, columns.threads);
  alignas(64) T state[columns.kBlock];
  columns.for_each_block(thread, [&](Range block) {
    // `count` iterations from s on; the first may begin an episode. `state` holds h_{t-1}.
    auto advance = [&](Range r, int64_t row, int64_t s, auto count) {
      const int64_t start = steps.start(s) + r.from;
      const bool fresh = steps.restarts(row, s, s);
      T* const h_t = state + (r.from - block.from);
      for_each_vector<T>(r.size(), [&](int64_t c, auto n) {
        int64_t i = start + c;
        Vec<T> v = load(b + i, n);
        if (!fresh) v += times(load(a + i, n), load(h_t + c, n));
        put<kStreamed>(hs + i, v, n);
        for (int64_t k = 1; k < count.value; ++k) {
          i += forwards;
          const Vec<T> added = load(b + i, n);
          v = times(load(a + i, n), v) + added;
          put<kStreamed>(hs + i, v, n);
        }
        store(h_t + c, v, n);
      });
    };
    std::memcpy(state, h + block.from, sizeof(T) * block.size());
    for (int64_t s = 0, count; s < p.steps; s += count) {
      count = min(kTogether, p.steps - s);
      if constexpr (kStreamed) {
        const int64_t start = steps.start(s) + block.from;
        pages.reach(hs + start + (count - 1) * forwards, context);
        for (int64_t k = count; k < min(2 * count, p.steps - s); ++k) {
          prefetch_pages(a + start + k * forwards, block.size());
          prefetch_pages(b + start + k * forwards, block.size());
        }
      }
      columns.for_each_row(p, block, [&](Range r, int64_t row) {
        if (count == kTogether && !steps.restarts(row, s + 1, s + count - 1))
          return advance(r, row, s, Count<kTogether>{});
        for (int64_t k = 0; k < count; ++k) advance(r, row, s + k, Count<1>{});
      });
    }
  });
  if (kStreamed) end_streams();
}

template <typename T, bool kComplex>
void forward(const LinearForward& p, Context& context) {
  const Columns<T> columns(p, kComplex ? 2 : 1, context);
  const bool streamed = streams(p, columns, p.hs);
  auto body = [&](int64_t, int64_t thread) {
    (streamed ? forward_part<T, kComplex, true>
              : forward_part<T, kComplex, false>)(p, columns, thread, context);
  };
  run(context, 1, columns.threads, body);
}

// g_t = ∂C/∂h_t = h_ct_t + a_{t+1} g_{t+1},   ∂C/∂b_t = g_t,   ∂C/∂a_t = g_t h_{t-1}
// Nothing is conjugated: that is JAX's convention for the cotangents of complex numbers.
template <typename T, bool kComplex, bool kStreamed>
void backward_part(const LinearBackward& p, const Columns<T>& columns, int64_t thread,
                   Context& context) {
  const T *a = static_cast<const T*>(p.a), *hs = static_cast<const T*>(p.hs);
  const T *h = static_cast<const T*>(p.h), *hs_ct = static_cast<const T*>(p.hs_ct);
  const T* last_ct = static_cast<const T*>(p.last_ct);
  T *a_ct = static_cast<T*>(p.a_ct), *b_ct = static_cast<T*>(p.b_ct);
  T* h_ct = static_cast<T*>(p.h_ct);
  const Product<T, kComplex> times;
  const Steps steps(p, columns.total);
  const int64_t forwards = steps.forwards, bytes = sizeof(T) * columns.total * p.steps;
  PagesAhead a_pages(a_ct, bytes, !p.reverse, thread, columns.threads);
  PagesAhead b_pages(b_ct, bytes, !p.reverse, thread, columns.threads);
  alignas(64) T state[columns.kBlock];
  columns.for_each_block(thread, [&](Range block) {
    // `count` iterations from s back; the last may begin an episode. `state` holds g_{t+1}.
    auto advance = [&](Range r, int64_t row, int64_t s, auto count) {
      const int64_t start = steps.start(s), to = s + 1 - count.value;
      const bool last = s == p.steps - 1, cut = !last && steps.restarts(row, s + 1, s + 1);
      const bool fresh = steps.restarts(row, to, to);
      const T* const h_before = (to == 0 ? h : hs + steps.start(to) - forwards) + r.from;
      T* const g_t = state + (r.from - block.from);
      for_each_vector<T>(r.size(), [&](int64_t c, auto n) {
        int64_t i = start + r.from + c;
        Vec<T> g = load(hs_ct + i, n);
        if (last)
          g += load(last_ct + r.from + c, n);
        else if (!cut)
          g += times(load(a + i + forwards, n), load(g_t + c, n));
        for (int64_t k = 1; k < count.value; ++k) {
          put<kStreamed>(b_ct + i, g, n);
          if (a_ct) put<kStreamed>(a_ct + i, times(g, load(hs + i - forwards, n)), n);
          i -= forwards;
          g = load(hs_ct + i, n) + times(load(a + i + forwards, n), g);
        }
        put<kStreamed>(b_ct + i, g, n);
        if (a_ct)
          put<kStreamed>(a_ct + i, fresh ? Vec<T>{} : times(g, load(h_before + c, n)), n);
        store(g_t + c, g, n);
      });
    };
    for (int64_t s = p.steps - 1, count; s >= 0; s -= count) {
      count = min(kTogether, s + 1);
      if constexpr (kStreamed) {
        const int64_t start = steps.start(s) + block.from, end = start - (count - 1) * forwards;
        b_pages.reach(b_ct + end, context);
        if (a_ct) a_pages.reach(a_ct + end, context);
        for (int64_t k = count; k < min(2 * count, s); ++k) {
          prefetch_pages(a + start - (k - 1) * forwards, block.size());
          prefetch_pages(hs_ct + start - k * forwards, block.size());
          if (a_ct) prefetch_pages(hs + start - (k + 1) * forwards, block.size());
        }
      }
      columns.for_each_row(p, block, [&](Range r, int64_t row) {
        if (count == kTogether && !steps.restarts(row, s + 2 - count, s))
          return advance(r, row, s, Count<kTogether>{});
        for (int64_t k = 0; k < count; ++k) advance(r, row, s - k, Count<1>{});
      });
    }
    columns.for_each_row(p, block, [&](Range r, int64_t row) {
      const bool fresh = steps.restarts(row, 0, 0);
      const T *const a_t = a + steps.start(0) + r.from, *const g_t = state + (r.from - block.from);
      for_each_vector<T>(r.size(), [&](int64_t c, auto n) {
        const Vec<T> passed = times(load(a_t + c, n), load(g_t + c, n));
        store(h_ct + r.from + c, fresh ? Vec<T>{} : passed, n);
      });
    });
  });
  if (kStreamed) end_streams();
}

template <typename T, bool kComplex>
void backward(const LinearBackward& p, Context& context) {
  const Columns<T> columns(p, kComplex ? 2 : 1, context);
  const bool streamed = streams(p, columns, p.b_ct) && streams(p, columns, p.a_ct);
  auto body = [&](int64_t, int64_t thread) {
    (streamed ? backward_part<T, kComplex, true>
              : backward_part<T, kComplex, false>)(p, columns, thread, context);
  };
  run(context, 1, columns.threads, body);
}

}  // namespace

extern const LinearKernels kLinear;
const LinearKernels kLinear = {
    {forward<float, false>, forward<double, false>, forward<float, true>, forward<double, true>},
    {backward<float, false>, backward<double, false>, backward<float, true>,
     backward<double, true>}};

}  // namespace rnnjax::RNNJAX_ISA
