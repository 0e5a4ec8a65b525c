// What the loops share: how work is divided among threads, packing of weights, and the product of
// many rows with a packed panel.
#pragma once

#include <unistd.h>

#include "cells.h"
#include "gemm.h"
#include "kernels.h"

namespace rnnjax::RNNJAX_ISA {

struct Range {
  int64_t from, to;
  int64_t size() const { return to - from; }
};

// The part-th of `parts` nearly equal parts of [0, size).
inline Range share(int64_t size, int64_t part, int64_t parts) {
  return {size * part / parts, size * (part + 1) / parts};
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename T>
T* allocate(Context& context, int64_t size) {
  return static_cast<T*>(context.allocate(sizeof(T) * size));
}

// From loop iterations to time steps (reversed or not), and which rows are valid or restart there.
struct Schedule : Sizes {
  explicit Schedule(const Sizes& sizes) : Sizes(sizes) {}
  int64_t time(int64_t s) const { return reverse ? steps - 1 - s : s; }
  bool valid(int64_t t, int64_t b) const { return !lengths || t < lengths[b]; }
  bool restarts(int64_t t, int64_t b) const { return begins && begins[t * batch + b]; }
};

// How a loop is divided among threads: by rows of the batch where each thread gets enough of them
// (a thread then runs the whole sequence without waiting), else by hidden units, with a barrier
// after every step, or not at all.
enum class Split { kNone, kRows, kHidden };

inline Split choose_split(int64_t threads, const Sizes& p, int64_t recurrent_bytes,
                          int64_t panels) {
  const double work = double(recurrent_bytes) * p.batch;
  if (threads < 2 || work * p.steps < 4e6) return Split::kNone;
  if (p.batch >= 12 * threads || (p.batch >= threads && recurrent_bytes <= 1 << 20))
    return Split::kRows;
  if (panels >= 2 * threads && work >= 1e6) return Split::kHidden;
  return p.batch >= threads ? Split::kRows : Split::kNone;
}

constexpr int64_t kGroup = 48;        // rows whose sums fit a buffer on the stack

// Rows of a panel that are summed at a time: as many as stay in the cache that feeds the tiles. A
// first-level cache of 48 KiB (Intel's) holds 128 rows of a panel beside the rows of the tiles; one
// of 32 KiB (AMD's) does not, and long sums from the second level are as fast there.
inline int64_t depth_block() {
  static const int64_t rows = [] {
#ifdef _SC_LEVEL1_DCACHE_SIZE
    if (sysconf(_SC_LEVEL1_DCACHE_SIZE) >= 48 << 10) return int64_t{128};
#endif
    return int64_t{512};
  }();
  return rows;
}

// out[i] = init[i] + a[i] panel for up to kGroup rows, in nearly equal tiles; no init adds zero.
template <typename T, int NV>
inline void product(int64_t rows, const T* const* a, const T* panel, int64_t k_size,
                    const T* init, int64_t init_stride, T* out, int64_t out_stride) {
  constexpr int64_t W = NV * kLanes<T>;
  const int64_t tiles = ceil_div(rows, kMaxRows<NV>);
  const T* shifted[kGroup];
  const int64_t block = depth_block();
  for (int64_t k = 0; k == 0 || k < k_size; k += block) {
    const int64_t depth = min(block, k_size - k);
    for (int64_t i = 0; i < rows; ++i) shifted[i] = a[i] + k;
    for (int64_t j = 0; j < tiles; ++j) {
      const Range r = share(rows, j, tiles);
      T* o = out + r.from * out_stride;
      if (k == 0)
        tile_rows<T, NV>(r.size(), shifted + r.from, 1, panel, depth,
                       init ? init + r.from * init_stride : nullptr, init_stride, o, out_stride);
      else
        tile_rows<T, NV>(r.size(), shifted + r.from, 1, panel + k * W, depth, o, out_stride, o,
                       out_stride);
    }
  }
}

// body(first, count) for groups of up to kGroup of the rows, nearly equal in size.
template <typename Body>
inline void for_each_group(int64_t rows, const Body& body) {
  const int64_t groups = ceil_div(rows, kGroup);
  for (int64_t g = 0; g < groups; ++g) {
    const Range r = share(rows, g, groups);
    body(r.from, r.size());
  }
}

// Pack wᵀ: the first k_size columns of w [rows, stride] -> [panels][depth][width], where a panel
// holds `width` rows of w side by side. `depth` is k_size unless several calls fill a panel.
template <typename T>
inline void pack_transposed(const T* w, int64_t rows, int64_t stride, int64_t k_size,
                            int64_t width, int64_t depth, T* packed, Range panels) {
  constexpr int64_t L = kLanes<T>, kRun = 8 * L;  // numbers of a row of w that are read at a time
  for (int64_t p = panels.from; p < panels.to; ++p)
    for (int64_t k = 0; k < k_size; k += kRun)
      for (int64_t j = 0; j < width; j += L) {
        alignas(64) T block[L][kRun];
        const int64_t size = min(kRun, k_size - k), row = p * width + j;
        for (int64_t i = 0; i < L; ++i)
          for (int64_t n = 0; n < size; n += L)
            store(block[i] + n,
                  row + i < rows ? load(w + (row + i) * stride + k + n, size - n) : Vec<T>{});
        for (int64_t n = 0; n < size; ++n)
          for (int64_t i = 0; i < L; ++i)
            packed[(p * depth + k + n) * width + j + i] = block[i][n];
      }
}

// The width in vectors of panels over `size` columns: 4, or 3 where that needs less padding.
template <typename T>
inline int panel_vectors(int64_t size) {
  const int64_t vectors = ceil_div(size, kLanes<T>);
  return ceil_div(vectors, 3) * 3 < ceil_div(vectors, 4) * 4 ? 3 : 4;
}

// Run the lambda `body(phase, unit)` on the context's threads.
template <typename Body>
inline void run(Context& context, int64_t phases, int64_t units, Body& body) {
  context.run(
      phases, units,
      [](void* data, int64_t phase, int64_t unit) { (*static_cast<Body*>(data))(phase, unit); },
      &body);
}

}  // namespace rnnjax::RNNJAX_ISA
