// The matrix product micro-kernel: a tile of rows times a packed panel of weights.
//
// A panel holds NV vectors of columns, row after row of the weights: [K][NV][lanes]. A tile of up
// to kMaxRows<NV> rows keeps its sums in registers over the whole of K.
#pragma once

#include "simd.h"

namespace rnnjax::RNNJAX_ISA {

// The accumulators, a row of the panel and one broadcast number share the registers; with few
// registers the panel is read from memory as an operand.
template <int NV>
constexpr int kMaxRows = (kRegisters >= 32 ? (kRegisters - NV - 1) / NV : (kRegisters - 2) / NV) > 8
                             ? 8
                             : (kRegisters >= 32 ? (kRegisters - NV - 1) / NV
                                                 : (kRegisters - 2) / NV);

// out[i] = init[i] + Σ_k a[i][k step] panel[k], rows of NV vectors. The sum starts from zero and
// `init` is added last: summed in blocks of K, a long sum loses less to rounding.
template <typename T, int MR, int NV>
inline void tile(const T* const* a, int64_t step, const T* panel, int64_t k_size, const T* init,
                 int64_t init_stride, T* out, int64_t out_stride) {
  constexpr int64_t L = kLanes<T>;
  // Enough independent accumulators to hide the latency of a fused multiply-add.
  constexpr int KU = MR * NV >= 8 ? 1 : MR * NV >= 4 ? 2 : 4;
  Vec<T> sum[KU][MR][NV];
  const T* row[MR];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
    row[i] = a[i];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v)
#pragma GCC unroll 4
      for (int u = 0; u < KU; ++u) sum[u][i][v] = Vec<T>{};
  }
  int64_t k = 0;
  for (; k + KU <= k_size; k += KU) {
#pragma GCC unroll 4
    for (int u = 0; u < KU; ++u) {
      Vec<T> w[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) w[v] = load(panel + (u * NV + v) * L);
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
        const Vec<T> x = splat<T>(row[i][(k + u) * step]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[u][i][v] += x * w[v];
      }
    }
    panel += KU * NV * L;
  }
  for (; k < k_size; ++k, panel += NV * L)
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[0][i][v] += splat<T>(row[i][k * step]) * load(panel + v * L);
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 4
      for (int u = 1; u < KU; ++u) sum[0][i][v] += sum[u][i][v];
      if (init) sum[0][i][v] += load(init + i * init_stride + v * L);
      store(out + i * out_stride + v * L, sum[0][i][v]);
    }
}

// `tile` for a number of rows known at run time: 1 to kMaxRows<NV>.
template <typename T, int NV>
inline void tile_rows(int64_t rows, const T* const* a, int64_t step, const T* panel, int64_t k_size,
                    const T* init, int64_t init_stride, T* out, int64_t out_stride) {
  switch (rows) {
#define RNNJAX_ROWS(MR)                                                                      \
  case MR:                                                                                   \
    if constexpr (MR <= kMaxRows<NV>)                                                        \
      tile<T, MR, NV>(a, step, panel, k_size, init, init_stride, out, out_stride);           \
    break;
    RNNJAX_ROWS(1) RNNJAX_ROWS(2) RNNJAX_ROWS(3) RNNJAX_ROWS(4)
    RNNJAX_ROWS(5) RNNJAX_ROWS(6) RNNJAX_ROWS(7) RNNJAX_ROWS(8)
#undef RNNJAX_ROWS
  }
}

}  // namespace rnnjax::RNNJAX_ISA
