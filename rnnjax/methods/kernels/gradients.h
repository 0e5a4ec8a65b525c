// The gradients of the weights and inputs: matrix products after the backward loop, over all time
// steps and rows of the batch at once.
#pragma once

#include "loop.h"

namespace rnnjax::RNNJAX_ISA {

// Σ_n a_nᵀ δ_n for a = x (W_x), h_{t-1} (W_h) and 1 (the biases).
template <template <typename> class CellOf, typename T>
class WeightSums {
  using Cell = CellOf<T>;
  static constexpr int64_t L = kLanes<T>, NV = 4, W = NV * L;
  static constexpr int64_t G = Cell::kGates, R = Cell::kRecurrentOffset;
  static constexpr int64_t kDepth = 256;  // examples whose errors are packed at a time

  // Rows of one gradient: out[r] = Σ_n a[r stride + n step] δ_n.
  struct Rows {
    const T* a;
    int64_t stride, step, size;
    T* out;
    int64_t out_stride;
  };

 public:
  WeightSums(const WeightGradients& call, Context& context)
      : p_(call), context_(context), D_(call.inputs), H_(call.hidden) {}

  void run_all() {
    const double work = double(p_.examples) * (D_ + H_) * G * H_;
    const int64_t units = work < 1e5 ? 1 : context_.threads();
    T* packed = allocate<T>(context_, units * kDepth * W);
    auto body = [&](int64_t, int64_t unit) {
      // Blocks R … G - 1 of the errors are at x W_x and at h W_h, of the first G - R gates; the R
      // blocks before them are at x W_x alone and the R blocks after them at h W_h alone.
      T* mine = packed + unit * kDepth * W;
      const int64_t shared = (G - R) * H_;
      columns(mine, unit, units, R * H_, shared, {bias(0), inputs(0), hidden(0)});
      if constexpr (R > 0) {
        columns(mine, unit, units, 0, R * H_, {bias(shared), inputs(shared)});
        columns(mine, unit, units, G * H_, R * H_, {hidden(shared)});
      }
    };
    run(context_, 1, units, body);
  }

 private:
  static const T* in(const void* p) { return static_cast<const T*>(p); }
  static T* out(void* p) { return static_cast<T*>(p); }

  Rows ones(T* sums) const {
    static const T one = 1;
    return {&one, 0, 0, 1, sums, 0};
  }
  Rows bias(int64_t column) const { return ones(out(p_.b_ct) + column); }
  Rows inputs(int64_t column) const {
    return {in(p_.xs), 1, D_, D_, out(p_.w_x_ct) + column, G * H_};
  }
  Rows hidden(int64_t column) const {
    return {in(p_.h_tm1), 1, H_, H_, out(p_.w_h_ct) + column, G * H_};
  }

  // This thread's part of all the rows of `rows`, for columns first … first + size - 1 of δ.
  template <size_t kRows>
  void columns(T* packed, int64_t unit, int64_t units, int64_t first, int64_t size,
               const Rows (&rows)[kRows]) const {
    int64_t total = 0;
    for (const Rows& r : rows) total += r.size;
    const Range mine = share(total, unit, units);
    for (int64_t n = 0; n == 0 || n < p_.examples; n += kDepth) {
      const int64_t depth = min(kDepth, p_.examples - n);
      for (int64_t j = 0; j < size; j += W) {
        const int64_t width = min(W, size - j);
        pack(packed, n, depth, first + j, width);
        int64_t before = 0;
        for (const Rows& r : rows) {
          const int64_t from = mine.from - before < 0 ? 0 : mine.from - before;
          const int64_t to = min(r.size, mine.to - before);
          if (from < to) add(r, {from, to}, packed, n, depth, j, width);
          before += r.size;
        }
      }
    }
  }

  void pack(T* packed, int64_t n, int64_t depth, int64_t column, int64_t width) const {
    const T* delta = in(p_.delta) + n * Cell::kTape * H_ + column;
    for (int64_t i = 0; i < depth; ++i, delta += Cell::kTape * H_)
      for (int64_t v = 0; v < NV; ++v)
        store(packed + (i * NV + v) * L,
              v * L < width ? load(delta + v * L, width - v * L) : Vec<T>{});
  }

  void add(const Rows& r, Range part, const T* packed, int64_t n, int64_t depth, int64_t column,
           int64_t width) const {
    const int64_t tiles = ceil_div(part.size(), kMaxRows<NV>);
    for (int64_t t = 0; t < tiles; ++t) {
      const Range rows = share(part.size(), t, tiles);
      const int64_t row = part.from + rows.from, count = rows.size();
      const T* a[8];
      for (int64_t i = 0; i < count; ++i) a[i] = r.a + (row + i) * r.stride + n * r.step;
      T* sums = r.out + row * r.out_stride + column;
      if (width == W) {
        tile_rows<T, NV>(count, a, r.step, packed, depth, n ? sums : nullptr, r.out_stride, sums,
                       r.out_stride);
      } else {
        alignas(64) T part_sums[8 * W];
        tile_rows<T, NV>(count, a, r.step, packed, depth, nullptr, 0, part_sums, W);
        for (int64_t i = 0; i < count; ++i)
          for (int64_t j = 0; j < width; ++j) {
            T& sum = sums[i * r.out_stride + j];
            sum = (n ? sum : T(0)) + part_sums[i * W + j];
          }
      }
    }
  }

  const WeightGradients& p_;
  Context& context_;
  const int64_t D_, H_;
};

// dx = δ W_xᵀ, NV vectors of input features at a time.
template <template <typename> class CellOf, typename T, int NV>
void input_gradients_by(const InputGradients& p, Context& context) {
  using Cell = CellOf<T>;
  constexpr int64_t L = kLanes<T>, W = NV * L;
  const int64_t H = p.hidden, D = p.inputs, K = Cell::kGates * H, panels = ceil_div(D, W);
  const int64_t rotated = Cell::kRecurrentOffset * H;  // δ begins with the last R gates
  const int64_t units = double(p.examples) * D * K < 1e5 ? 1 : context.threads();
  T* w = allocate<T>(context, panels * K * W);
  const T* delta = static_cast<const T*>(p.delta);
  T* out = static_cast<T*>(p.xs_ct);
  auto body = [&](int64_t phase, int64_t unit) {
    if (phase == 0) {
      const T* w_x = static_cast<const T*>(p.w_x);
      const Range part = share(panels, unit, units);
      pack_transposed(w_x + K - rotated, D, K, rotated, W, K, w, part);
      return pack_transposed(w_x, D, K, K - rotated, W, K, w + rotated * W, part);
    }
    const Range mine = share(p.examples, unit, units);
    for_each_group(mine.size(), [&](int64_t first, int64_t count) {
      alignas(64) T sums[kGroup * W];
      const T* a[kGroup];
      const int64_t n = mine.from + first;
      for (int64_t i = 0; i < count; ++i) a[i] = delta + (n + i) * Cell::kTape * H;
      for (int64_t j = 0; j < panels; ++j) {
        product<T, NV>(count, a, w + j * K * W, K, nullptr, 0, sums, W);
        for (int64_t i = 0; i < count; ++i)
          for (int64_t v = 0; v < NV && j * W + v * L < D; ++v)
            store(out + (n + i) * D + j * W + v * L, load(sums + i * W + v * L),
                  D - j * W - v * L);
      }
    });
  };
  run(context, 2, units, body);
}

template <template <typename> class Cell, typename T>
void input_gradients(const InputGradients& p, Context& context) {
  if (p.inputs <= kLanes<T>) return input_gradients_by<Cell, T, 1>(p, context);
  if (p.inputs <= 2 * kLanes<T>) return input_gradients_by<Cell, T, 2>(p, context);
  if (panel_vectors<T>(p.inputs) == 3) return input_gradients_by<Cell, T, 3>(p, context);
  return input_gradients_by<Cell, T, 4>(p, context);
}

}  // namespace rnnjax::RNNJAX_ISA
