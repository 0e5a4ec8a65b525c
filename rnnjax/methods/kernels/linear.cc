// The diagonal linear recurrence h_t = a_t h_{t-1} + b_t and its derivative, real or complex. Each is
// one pass over its arrays in the order that they lie in memory; the state is read from where the
// step before has written it, or from a copy where that is out of the caches. setup.py compiles this
// file once for every instruction set.

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
  static constexpr int64_t kBlock = (1 << 14) / sizeof(T);

  // body(columns of a block of at most `size`) for the part of one thread.
  template <typename Body>
  void for_each_block(int64_t thread, int64_t size, const Body& body) const {
    const Range lines = share(ceil_div(total, kLine), thread, threads);
    const int64_t from = lines.from * kLine, to = min(lines.to * kLine, total);
    const int64_t blocks = ceil_div(to - from, size);
    for (int64_t i = 0; i < blocks; ++i)
      body(Range{from + i * size, min(from + (i + 1) * size, to)});
  }

  // body(columns, restarts) for the rows of the batch in a block, all of them at once where none
  // can restart; begins [B] are those of one step.
  template <typename Body>
  void for_each_row(Range block, const uint8_t* begins, const Body& body) const {
    if (!begins) return body(block, false);
    for (int64_t c = block.from; c < block.to;) {
      const int64_t b = c / features, end = min((b + 1) * features, block.to);
      body(Range{c, end}, begins[b] != 0);
      c = end;
    }
  }

  int64_t features, total, threads;
};

inline const uint8_t* begins_at(const LinearSizes& p, int64_t t) {
  return p.begins ? p.begins + t * p.batch : nullptr;
}

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

// For arrays of which no cache keeps a part until it is read again: h goes past the caches, and the
// state, which the next step reads, is in `state` too. Where nothing restarts, several steps are
// taken together, in registers: memory answers more rows at once sooner than one after the other.
template <typename T, bool kComplex>
void forward_streamed(const LinearForward& p, const Columns<T>& columns, int64_t thread,
                      Context& context) {
  constexpr int64_t kBlock = 2 * Columns<T>::kBlock, kTogether = 4;
  const T *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  const T* h = static_cast<const T*>(p.h);
  T* hs = static_cast<T*>(p.hs);
  const Product<T, kComplex> times;
  const int64_t forwards = (p.reverse ? -1 : 1) * columns.total;  // from a step's row to the next
  alignas(64) T state[kBlock];
  PagesAhead pages(hs, sizeof(T) * columns.total * p.steps, p.reverse, thread, columns.threads);
  columns.for_each_block(thread, kBlock, [&](Range block) {
    std::memcpy(state, h + block.from, sizeof(T) * block.size());
    for (int64_t s = 0, together; s < p.steps; s += together) {
      together = !p.begins && s + kTogether <= p.steps ? kTogether : 1;
      const int64_t t = p.reverse ? p.steps - 1 - s : s, row = t * columns.total;
      pages.reach(hs + row + (together - 1) * forwards + block.from, context);
      for (int64_t ahead = together; ahead < min(2 * together, p.steps - s); ++ahead) {
        prefetch_pages(a + row + ahead * forwards + block.from, block.size());
        prefetch_pages(b + row + ahead * forwards + block.from, block.size());
      }
      if (together == kTogether) {
        for (int64_t c = block.from; c < block.to; c += kLanes<T>) {
          Vec<T> v = load(state + (c - block.from));
          for (int64_t i = row + c, k = 0; k < kTogether; i += forwards, ++k) {
            const Vec<T> added = load(b + i);
            v = times(load(a + i), v) + added;
            stream(hs + i, v);
          }
          store(state + (c - block.from), v);
        }
        continue;
      }
      columns.for_each_row(block, begins_at(p, t), [&](Range r, bool restarts) {
        for (int64_t c = r.from; c < r.to; c += kLanes<T>) {
          T* const h_t = state + (c - block.from);
          const Vec<T> added = load(b + row + c);
          const Vec<T> v = restarts ? added : times(load(a + row + c), load(h_t)) + added;
          store(h_t, v);
          stream(hs + row + c, v);
        }
      });
    }
  });
  end_streams();
}

// Whether `forward_streamed` pays, and every row of the batch consists of whole cache lines.
template <typename T>
bool streams(const LinearForward& p, const Columns<T>& columns) {
  return columns.total * p.steps * int64_t(sizeof(T)) >= kLargeOutput &&
         columns.features % columns.kLine == 0 && reinterpret_cast<uintptr_t>(p.hs) % 64 == 0;
}

template <typename T, bool kComplex>
void forward(const LinearForward& p, Context& context) {
  const Columns<T> columns(p, kComplex ? 2 : 1, context);
  const T *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  T* hs = static_cast<T*>(p.hs);
  const bool streamed = streams(p, columns);
  auto body = [&](int64_t, int64_t thread) {
    if (streamed) return forward_streamed<T, kComplex>(p, columns, thread, context);
    const Product<T, kComplex> times;
    columns.for_each_block(thread, columns.kBlock, [&](Range block) {
      const T* h = static_cast<const T*>(p.h);
      for (int64_t s = 0; s < p.steps; ++s) {
        const int64_t t = p.reverse ? p.steps - 1 - s : s, row = t * columns.total;
        columns.for_each_row(block, begins_at(p, t), [&](Range r, bool restarts) {
          const T *a_t = a + row + r.from, *b_t = b + row + r.from, *h_tm1 = h + r.from;
          T* h_t = hs + row + r.from;
          for_each_vector<T>(r.size(), [&](int64_t i, auto n) {
            const Vec<T> added = load(b_t + i, n);
            store(h_t + i, restarts ? added : times(load(a_t + i, n), load(h_tm1 + i, n)) + added,
                  n);
          });
        });
        h = hs + row;
      }
    });
  };
  run(context, 1, columns.threads, body);
}

// g_t = ∂C/∂h_t = h_ct_t + a_{t+1} g_{t+1},   ∂C/∂b_t = g_t,   ∂C/∂a_t = g_t h_{t-1}
// Nothing is conjugated: that is JAX's convention for the cotangents of complex numbers.
template <typename T, bool kComplex>
void backward(const LinearBackward& p, Context& context) {
  const Columns<T> columns(p, kComplex ? 2 : 1, context);
  const T *a = static_cast<const T*>(p.a), *hs = static_cast<const T*>(p.hs);
  const T *h = static_cast<const T*>(p.h), *hs_ct = static_cast<const T*>(p.hs_ct);
  const T* last_ct = static_cast<const T*>(p.last_ct);
  T *a_ct = static_cast<T*>(p.a_ct), *b_ct = static_cast<T*>(p.b_ct);
  T* h_ct = static_cast<T*>(p.h_ct);
  auto body = [&](int64_t, int64_t thread) {
    const Product<T, kComplex> times;
    columns.for_each_block(thread, columns.kBlock, [&](Range block) {
      for (int64_t s = p.steps - 1; s >= 0; --s) {
        const int64_t t = p.reverse ? p.steps - 1 - s : s, forwards = p.reverse ? -1 : 1;
        const int64_t row = t * columns.total;
        const bool last = s == p.steps - 1;
        const int64_t after = last ? row : (t + forwards) * columns.total;
        const T* h_before = s == 0 ? h : hs + (t - forwards) * columns.total;
        // The error that leaves step t + 1.
        columns.for_each_row(
            block, last ? nullptr : begins_at(p, t + forwards), [&](Range r, bool restarted) {
              for_each_vector<T>(r.size(), [&](int64_t i, auto n) {
                const int64_t c = r.from + i;
                Vec<T> g = load(hs_ct + row + c, n);
                if (last)
                  g += load(last_ct + c, n);
                else if (!restarted)
                  g += times(load(a + after + c, n), load(b_ct + after + c, n));
                store(b_ct + row + c, g, n);
                if (a_ct) store(a_ct + row + c, times(g, load(h_before + c, n)), n);
              });
            });
        if (!p.begins || (!a_ct && s > 0)) continue;
        columns.for_each_row(block, begins_at(p, t), [&](Range r, bool restarts) {
          if (restarts && a_ct) std::memset(a_ct + row + r.from, 0, sizeof(T) * r.size());
        });
      }
      const int64_t t = p.reverse ? p.steps - 1 : 0, row = t * columns.total;
      columns.for_each_row(block, begins_at(p, t), [&](Range r, bool restarts) {
        for_each_vector<T>(r.size(), [&](int64_t i, auto n) {
          const int64_t c = r.from + i;
          const Vec<T> passed = times(load(a + row + c, n), load(b_ct + row + c, n));
          store(h_ct + c, restarts ? Vec<T>{} : passed, n);
        });
      });
    });
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
