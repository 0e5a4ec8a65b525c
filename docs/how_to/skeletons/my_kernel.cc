// The recurrence h_t = tanh(z_t + u ⊙ h_{t-1}), forward and backward: copy this file and change what
// says TODO. Built by `build()` of my_kernel.py.
//
// Arrays are C-contiguous: z, hs [T, B, H]; u [H]; h0, fresh [B, H]; valid, begins [T, B] of bytes.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

template <ffi::DataType D>
using In = ffi::Buffer<D>;
template <ffi::DataType D>
using Out = ffi::ResultBuffer<D>;
using Flags = ffi::Buffer<ffi::PRED>;

template <ffi::DataType D>
ffi::Error Forward(In<D> z, In<D> u, In<D> h0, In<D> fresh, Flags valid, Flags begins, Out<D> hs) {
  const int64_t T = z.dimensions()[0], B = z.dimensions()[1], H = z.dimensions()[2];
  for (int64_t b = 0; b < B; ++b) {
    const auto* before = h0.typed_data() + b * H;
    for (int64_t t = 0; t < T; ++t) {
      const int64_t row = t * B + b;
      auto* h = hs->typed_data() + row * H;
      if (!valid.typed_data()[row]) {  // the carry stays
        std::memcpy(h, before, H * sizeof(*h));
      } else {
        const auto* from = begins.typed_data()[row] ? fresh.typed_data() + b * H : before;
        const auto* z_t = z.typed_data() + row * H;
        for (int64_t j = 0; j < H; ++j) h[j] = std::tanh(z_t[j] + u.typed_data()[j] * from[j]);  // TODO
      }
      before = h;
    }
  }
  return ffi::Error::Success();
}

// From ∂C/∂hs to δ = ∂C/∂z and to ∂C/∂ of u, h0 and fresh, backwards in time.
template <ffi::DataType D>
ffi::Error Backward(In<D> hs, In<D> u, In<D> h0, In<D> fresh, Flags valid, Flags begins, In<D> hs_ct,
                    Out<D> delta, Out<D> u_ct, Out<D> h0_ct, Out<D> fresh_ct) {
  const int64_t T = hs.dimensions()[0], B = hs.dimensions()[1], H = hs.dimensions()[2];
  using Number = std::remove_reference_t<decltype(*delta->typed_data())>;
  std::vector<double> du(H, 0.0);
  for (int64_t b = 0; b < B; ++b) {
    auto* dh = h0_ct->typed_data() + b * H;  // ∂C/∂h_t; what is left of it at t = 0 is ∂C/∂h_0
    auto* dfresh = fresh_ct->typed_data() + b * H;
    std::memset(dh, 0, H * sizeof(*dh));
    std::memset(dfresh, 0, H * sizeof(*dfresh));
    for (int64_t t = T - 1; t >= 0; --t) {
      const int64_t row = t * B + b;
      const bool moves = valid.typed_data()[row], starts = begins.typed_data()[row];
      const auto* before = t ? hs.typed_data() + (row - B) * H : h0.typed_data() + b * H;
      const auto* from = starts ? fresh.typed_data() + b * H : before;
      for (int64_t j = 0; j < H; ++j) {
        const int64_t i = row * H + j;
        dh[j] += hs_ct.typed_data()[i];
        const Number h = hs.typed_data()[i];
        const Number d = moves ? dh[j] * (1 - h * h) : 0;  // TODO: δ_t = ∂C/∂h_t ⊙ tanh'
        delta->typed_data()[i] = d;
        if (!moves) continue;
        du[j] += d * from[j];
        const Number back = d * u.typed_data()[j];  // TODO: ∂C/∂h_{t-1} = δ_t ⊙ u
        if (starts) dfresh[j] += back;
        dh[j] = starts ? 0 : back;
      }
    }
  }
  for (int64_t j = 0; j < H; ++j) u_ct->typed_data()[j] = static_cast<Number>(du[j]);
  return ffi::Error::Success();
}

// TODO: one handler for each dtype that you serve.
#define HANDLERS(name, D)                                                                      \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(my_forward_##name, Forward<D>,                                 \
                                ffi::Ffi::Bind().Arg<In<D>>().Arg<In<D>>().Arg<In<D>>()        \
                                    .Arg<In<D>>().Arg<Flags>().Arg<Flags>().Ret<In<D>>());     \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(my_backward_##name, Backward<D>,                               \
                                ffi::Ffi::Bind().Arg<In<D>>().Arg<In<D>>().Arg<In<D>>()        \
                                    .Arg<In<D>>().Arg<Flags>().Arg<Flags>().Arg<In<D>>()       \
                                    .Ret<In<D>>().Ret<In<D>>().Ret<In<D>>().Ret<In<D>>());

HANDLERS(float32, ffi::F32)
HANDLERS(float64, ffi::F64)
