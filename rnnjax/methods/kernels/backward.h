// The backward loop over a whole sequence: ∂C/∂z_t for every step, from the last to the first, and
// the gradients of the initial carry, the fresh carry and the extra weights.
#pragma once

#include "loop.h"

namespace rnnjax::RNNJAX_ISA {

template <template <typename> class CellOf, typename T, int NV>
class BackwardLoop {
  using Cell = CellOf<T>;
  using V = Vec<T>;
  static constexpr int64_t L = kLanes<T>, W = NV * L;

 public:
  BackwardLoop(const Backward& call, Context& context)
      : p_(call),
        schedule_(call),
        context_(context),
        B_(call.batch),
        H_(call.hidden),
        K_(Cell::kGates * H_),
        panels_(ceil_div(H_, W)),
        width_(panels_ * W) {}

  void run_all() {
    const Split split = choose_split(context_.threads(), p_, K_ * H_ * sizeof(T), panels_);
    const int64_t units = split == Split::kNone ? 1 : context_.threads();
    w_ht_ = allocate<T>(context_, panels_ * K_ * W);
    dh_ = allocate<T>(context_, B_ * width_);
    if (Cell::kHasC) dc_ = allocate<T>(context_, B_ * width_);
    if (split != Split::kHidden) {
      auto body = [&](int64_t phase, int64_t unit) {
        if (phase == 0) return pack(share(panels_, unit, units));
        const Range rows = share(B_, unit, units), all{0, panels_};
        load_carry_ct(rows, all);
        for (int64_t s = p_.steps - 1; s >= -1; --s) step(s, rows, all);
      };
      run(context_, 2, units, body);
    } else {
      auto body = [&](int64_t phase, int64_t unit) {
        const Range rows{0, B_}, mine = share(panels_, unit, units);
        if (phase == 0) return pack(mine), load_carry_ct(rows, mine);
        step(p_.steps - phase, rows, mine);
      };
      run(context_, p_.steps + 2, units, body);
    }
  }

 private:
  static const T* in(const void* p) { return static_cast<const T*>(p); }
  static T* out(void* p) { return static_cast<T*>(p); }
  int64_t lanes(int64_t j) const { return min(L, H_ - j); }

  void pack(Range panels) { pack_transposed(in(p_.w_h), H_, K_, K_, W, K_, w_ht_, panels); }

  void load_carry_ct(Range rows, Range panels) {
    for (int64_t b = rows.from; b < rows.to; ++b)
      for (int64_t j = panels.from * W; j < min(panels.to * W, H_); j += L) {
        const int64_t n = lanes(j), from = b * H_ + j, to = b * width_ + j;
        store(dh_ + to, load(in(p_.h_last_ct) + from, n));
        if constexpr (Cell::kHasC) store(dc_ + to, load(in(p_.c_last_ct) + from, n));
        if (p_.h_fresh_ct) store(out(p_.h_fresh_ct) + from, V{}, n);
        if (Cell::kHasC && p_.c_fresh_ct) store(out(p_.c_fresh_ct) + from, V{}, n);
        for (int64_t e = 0; e < Cell::kExtra; ++e)
          store(out(p_.extra_ct) + (b * Cell::kExtra + e) * H_ + j, V{}, n);
      }
  }

  // s = -1 completes the gradient of the initial carry.
  void step(int64_t s, Range rows, Range panels) {
    const bool first = s + 1 == p_.steps;  // no later step has sent an error back
    const int64_t t_next = first ? 0 : schedule_.time(s + 1);
    const T* delta = in(p_.delta) + Cell::kRecurrentOffset * H_;
    for (int64_t p = panels.from; p < panels.to; ++p)
      for_each_group(rows.size(), [&](int64_t at, int64_t count) {
        alignas(64) T sums[kGroup * W];
        const T* a[kGroup];
        const int64_t b = rows.from + at;
        for (int64_t i = 0; i < count; ++i)
          a[i] = delta + (t_next * B_ + b + i) * Cell::kTape * H_;
        product<T, NV>(count, a, w_ht_ + p * K_ * W, first ? 0 : K_, dh_ + b * width_ + p * W,
                       width_, sums, W);
        for (int64_t i = 0; i < count; ++i) update(s, first, b + i, p, sums + i * W);
      });
  }

  // The pointwise part of a step for one row and one panel; `sums` is ∂C/∂h_t from later steps.
  void update(int64_t s, bool first, int64_t b, int64_t panel, const T* sums) {
    const int64_t t = s < 0 ? 0 : schedule_.time(s), row = t * B_ + b;
    const bool restarted = !first && schedule_.restarts(schedule_.time(s + 1), b);
    const bool valid = s >= 0 && schedule_.valid(t, b);
    for (int64_t v = 0; v < NV; ++v) {
      const int64_t j = panel * W + v * L, n = lanes(j), at = b * width_ + j;
      if (n <= 0) return;
      V dh = load(sums + v * L), dc{};
      if constexpr (Cell::kHasC) dc = load(dc_ + at);
      if (restarted) {  // step s + 1 started from the fresh carry
        add(p_.h_fresh_ct, b * H_ + j, dh, n);
        if constexpr (Cell::kHasC) add(p_.c_fresh_ct, b * H_ + j, dc, n);
        dh = dc = V{};
      }
      if (s < 0) {
        store(out(p_.h_ct) + b * H_ + j, dh, n);
        if constexpr (Cell::kHasC) store(out(p_.c_ct) + b * H_ + j, dc, n);
        continue;
      }
      V delta[Cell::kTape] = {};
      if (valid) {
        V tape[Cell::kTape], c_tm1{};
        for (int64_t g = 0; g < Cell::kTape; ++g)
          tape[g] = load(in(p_.tape) + (row * Cell::kTape + g) * H_ + j, n);
        if constexpr (Cell::kHasC) c_tm1 = load(in(p_.c_tm1) + row * H_ + j, n);
        V extra[Cell::kExtra + 1], extra_ct[Cell::kExtra + 1];
        for (int64_t e = 0; e < Cell::kExtra; ++e) extra[e] = load(in(p_.extra) + e * H_ + j, n);
        dh = Cell::backward(tape, extra, load(in(p_.h_tm1) + row * H_ + j, n), c_tm1,
                            dh + load(in(p_.ys_ct) + row * H_ + j, n), dc, delta, extra_ct);
        for (int64_t e = 0; e < Cell::kExtra; ++e)
          add(p_.extra_ct, (b * Cell::kExtra + e) * H_ + j, extra_ct[e], n);
      }
      for (int64_t g = 0; g < Cell::kTape; ++g)
        store(out(p_.delta) + (row * Cell::kTape + g) * H_ + j, delta[g], n);
      store(dh_ + at, dh);
      if constexpr (Cell::kHasC) store(dc_ + at, dc);
    }
  }

  static void add(void* sum, int64_t at, V value, int64_t n) {
    store(out(sum) + at, load(in(sum) + at, n) + value, n);
  }

  const Backward& p_;
  const Schedule schedule_;
  Context& context_;
  const int64_t B_, H_, K_, panels_, width_;
  T *w_ht_ = nullptr, *dh_ = nullptr, *dc_ = nullptr;
};

}  // namespace rnnjax::RNNJAX_ISA
