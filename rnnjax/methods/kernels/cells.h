// The pointwise equations of each cell, on vectors of hidden units. Gates are in the order of the
// Python cells' weights. A cell defines
//   kGates              G, the blocks of H columns in W_x, W_h and b
//   kTape               blocks of H numbers that `forward` saves; `backward` overwrites them with δ
//   kHasC               whether the carry has a cell state c beside h
//   kExtra              E, the vectors of H weights that act on one hidden unit each (the GRU's
//                       b_hn, the peepholes of an LSTM), side by side in the array `extra`
//   kSeparateRecurrent  whether the recurrent product is kept separate from the input projection
//   kRecurrentOffset    R: blocks R … R + G - 1 of δ are the errors at h_{t-1} W_h, in the order of
//                       the gates; blocks 0 … G - 1 are those at x_t W_x, the last R gates first
// and two functions:
//   forward   in:  z = x_t W_x + b and s = h_{t-1} W_h (z + s in `z` unless kSeparateRecurrent),
//                  extra, h_tm1, c_{t-1} in `c`
//             out: tape, h, c
//   backward  in:  tape, extra, h_tm1, c_tm1, dh = ∂C/∂h_t, dc = ∂C/∂c_t
//             out: delta = ∂C/∂z_t, dc = ∂C/∂c_{t-1}, extra_ct = this step's term of ∂C/∂extra
//             returns the part of ∂C/∂h_{t-1} that does not pass through W_h
#pragma once

#include "simd.h"

namespace rnnjax::RNNJAX_ISA {

template <typename T>
struct Lstm {
  static constexpr int kGates = 4, kTape = 4, kRecurrentOffset = 0, kExtra = 0;
  static constexpr bool kHasC = true, kSeparateRecurrent = false;
  using V = Vec<T>;

  static void forward(const V* z, const V* /*s*/, const V* /*extra*/, V /*h_tm1*/, V* tape,
                      V& h, V& c) {
    const V i = sigmoid<T>(z[0]), f = sigmoid<T>(z[1]), g = tanh<T>(z[2]), o = sigmoid<T>(z[3]);
    c = f * c + i * g;
    h = o * tanh<T>(c);
    tape[0] = i, tape[1] = f, tape[2] = g, tape[3] = o;
  }

  static V backward(const V* tape, const V* /*extra*/, V /*h_tm1*/, V c_tm1, V dh, V& dc,
                    V* delta, V* /*extra_ct*/) {
    const V i = tape[0], f = tape[1], g = tape[2], o = tape[3];
    const V tanh_c = tanh<T>(f * c_tm1 + i * g);
    dc += dh * o * (T(1) - tanh_c * tanh_c);
    delta[0] = dc * g * i * (T(1) - i);
    delta[1] = dc * c_tm1 * f * (T(1) - f);
    delta[2] = dc * i * (T(1) - g * g);
    delta[3] = dh * tanh_c * o * (T(1) - o);
    dc = dc * f;
    return V{};
  }
};

// The extra weights are the peepholes p_i, p_f, p_o. The gates i and f read c_{t-1}, o reads c_t.
template <typename T>
struct PeepholeLstm {
  static constexpr int kGates = 4, kTape = 4, kRecurrentOffset = 0, kExtra = 3;
  static constexpr bool kHasC = true, kSeparateRecurrent = false;
  using V = Vec<T>;

  static void forward(const V* z, const V* /*s*/, const V* p, V /*h_tm1*/, V* tape,
                      V& h, V& c) {
    const V i = sigmoid<T>(z[0] + p[0] * c), f = sigmoid<T>(z[1] + p[1] * c), g = tanh<T>(z[2]);
    c = f * c + i * g;
    const V o = sigmoid<T>(z[3] + p[2] * c);
    h = o * tanh<T>(c);
    tape[0] = i, tape[1] = f, tape[2] = g, tape[3] = o;
  }

  static V backward(const V* tape, const V* p, V /*h_tm1*/, V c_tm1, V dh, V& dc, V* delta,
                    V* p_ct) {
    const V i = tape[0], f = tape[1], g = tape[2], o = tape[3];
    const V c = f * c_tm1 + i * g, tanh_c = tanh<T>(c);
    delta[3] = dh * tanh_c * o * (T(1) - o);
    dc += dh * o * (T(1) - tanh_c * tanh_c) + delta[3] * p[2];
    delta[0] = dc * g * i * (T(1) - i);
    delta[1] = dc * c_tm1 * f * (T(1) - f);
    delta[2] = dc * i * (T(1) - g * g);
    dc = dc * f + delta[0] * p[0] + delta[1] * p[1];
    p_ct[0] = delta[0] * c_tm1, p_ct[1] = delta[1] * c_tm1, p_ct[2] = delta[3] * c;
    return V{};
  }
};

template <typename T>
struct Lstm1997 {
  static constexpr int kGates = 3, kTape = 3, kRecurrentOffset = 0, kExtra = 0;
  static constexpr bool kHasC = true, kSeparateRecurrent = false;
  using V = Vec<T>;

  static void forward(const V* z, const V* /*s*/, const V* /*extra*/, V /*h_tm1*/, V* tape,
                      V& h, V& c) {
    const V i = sigmoid<T>(z[0]), g = tanh<T>(z[1]), o = sigmoid<T>(z[2]);
    c = c + i * g;
    h = o * tanh<T>(c);
    tape[0] = i, tape[1] = g, tape[2] = o;
  }

  static V backward(const V* tape, const V* /*extra*/, V /*h_tm1*/, V c_tm1, V dh, V& dc,
                    V* delta, V* /*extra_ct*/) {
    const V i = tape[0], g = tape[1], o = tape[2];
    const V tanh_c = tanh<T>(c_tm1 + i * g);
    dc += dh * o * (T(1) - tanh_c * tanh_c);
    delta[0] = dc * g * i * (T(1) - i);
    delta[1] = dc * i * (T(1) - g * g);
    delta[2] = dh * tanh_c * o * (T(1) - o);
    return V{};
  }
};

// Gates r, z, n with the reset after the product. The tape is n, r, z, q = h_{t-1} W_hn + b_hn, and
// δ is δ_n, δ_r, δ_z, δ_n r: the first three are the errors at x W_x, the last three at h W_h.
template <typename T>
struct Gru {
  static constexpr int kGates = 3, kTape = 4, kRecurrentOffset = 1, kExtra = 1;
  static constexpr bool kHasC = false, kSeparateRecurrent = true;
  using V = Vec<T>;

  static void forward(const V* z, const V* s, const V* b_hn, V h_tm1, V* tape, V& h,
                      V& /*c*/) {
    const V r = sigmoid<T>(z[0] + s[0]), u = sigmoid<T>(z[1] + s[1]);
    const V q = s[2] + b_hn[0], n = tanh<T>(z[2] + r * q);
    h = (T(1) - u) * n + u * h_tm1;  // u = 1 keeps h to the last bit
    tape[0] = n, tape[1] = r, tape[2] = u, tape[3] = q;
  }

  static V backward(const V* tape, const V* /*b_hn*/, V h_tm1, V /*c_tm1*/, V dh, V& /*dc*/,
                    V* delta, V* b_hn_ct) {
    const V n = tape[0], r = tape[1], u = tape[2], q = tape[3];
    delta[0] = dh * (T(1) - u) * (T(1) - n * n);
    delta[1] = delta[0] * q * r * (T(1) - r);
    delta[2] = dh * (h_tm1 - n) * u * (T(1) - u);
    delta[3] = b_hn_ct[0] = delta[0] * r;
    return dh * u;
  }
};

template <typename T, bool kRelu>
struct Vanilla {
  static constexpr int kGates = 1, kTape = 1, kRecurrentOffset = 0, kExtra = 0;
  static constexpr bool kHasC = false, kSeparateRecurrent = false;
  using V = Vec<T>;

  static void forward(const V* z, const V* /*s*/, const V* /*extra*/, V /*h_tm1*/, V* tape,
                      V& h, V& /*c*/) {
    if constexpr (kRelu)
      h = z[0] < T(0) ? V{} : z[0];  // NaN stays
    else
      h = tanh<T>(z[0]);
    tape[0] = h;
  }

  static V backward(const V* tape, const V* /*extra*/, V /*h_tm1*/, V /*c_tm1*/, V dh,
                    V& /*dc*/, V* delta, V* /*extra_ct*/) {
    const V h = tape[0];
    if constexpr (kRelu)
      delta[0] = h > T(0) ? dh : V{};
    else
      delta[0] = dh * (T(1) - h * h);
    return V{};
  }
};

template <typename T>
using VanillaTanh = Vanilla<T, false>;
template <typename T>
using VanillaRelu = Vanilla<T, true>;

}  // namespace rnnjax::RNNJAX_ISA
