// The forward loop over a whole sequence.
#pragma once

#include "loop.h"

namespace rnnjax::RNNJAX_ISA {

template <template <typename> class CellOf, typename T>
class ForwardLoop {
  using Cell = CellOf<T>;
  using V = Vec<T>;
  static constexpr int64_t L = kLanes<T>, G = Cell::kGates;
  static constexpr int64_t kVectors = G == 1 ? 4 : 1;  // vectors of hidden units in a panel
  static constexpr int64_t NV = G * kVectors, W = NV * L;

 public:
  ForwardLoop(const Forward& call, Context& context)
      : p_(call),
        schedule_(call),
        context_(context),
        B_(call.batch),
        D_(call.inputs),
        H_(call.hidden),
        panels_(ceil_div(H_, kVectors * L)),
        width_(panels_ * kVectors * L) {}

  void run_all() {
    const Split split =
        choose_split(context_.threads(), p_, H_ * G * H_ * sizeof(T), panels_);
    const int64_t units = split == Split::kNone ? 1 : context_.threads();
    const bool by_rows = split != Split::kHidden;
    rows_ = by_rows ? ceil_div(B_, units) : B_;
    // Inputs are projected in chunks of steps: enough rows to amortise loading the weights.
    chunk_ = rows_ ? min(p_.steps, ceil_div(kChunkRows, rows_)) : 1;
    w_x_ = allocate<T>(context_, panels_ * D_ * W);
    w_h_ = allocate<T>(context_, panels_ * H_ * W);
    bias_ = allocate<T>(context_, panels_ * W);
    if (Cell::kExtra) extra_ = allocate<T>(context_, Cell::kExtra * width_);
    for (T*& h : h_) h = allocate<T>(context_, B_ * width_);
    if (Cell::kHasC) c_ = allocate<T>(context_, B_ * width_);
    z_size_ = panels_ * chunk_ * rows_ * W;
    z_ = allocate<T>(context_, z_size_ * (by_rows ? units : 1));
    if (by_rows) {
      auto body = [&](int64_t phase, int64_t unit) {
        if (phase == 0) return pack(share(panels_, unit, units));
        const Range rows = share(B_, unit, units), all{0, panels_};
        T* z = z_ + unit * z_size_;
        load_carry(rows, all);
        for (int64_t s = 0; s < p_.steps; ++s) {
          if (s % chunk_ == 0) project(z, s, rows, all);
          step(z, s, rows, all);
        }
      };
      run(context_, 2, units, body);
    } else {
      // Phases: pack; then for every chunk its projection and each of its steps.
      auto body = [&](int64_t phase, int64_t unit) {
        const Range rows{0, B_}, mine = share(panels_, unit, units);
        if (phase == 0) return pack(mine), load_carry(rows, mine);
        const int64_t at = (phase - 1) % (chunk_ + 1);
        const int64_t s = (phase - 1) / (chunk_ + 1) * chunk_ + (at ? at - 1 : 0);
        if (at)
          step(z_, s, rows, mine);
        else
          project(z_, s, rows, mine);
      };
      run(context_, 1 + p_.steps + ceil_div(p_.steps, chunk_), units, body);
    }
  }

 private:
  static constexpr int64_t kChunkRows = 96;

  static const T* in(const void* p) { return static_cast<const T*>(p); }
  static T* out(void* p) { return static_cast<T*>(p); }
  int64_t lanes(int64_t j) const { return min(L, H_ - j); }

  // [K, G H] -> [panels][K][G][kVectors][L]: a panel holds all gates of its hidden units.
  void pack_weights(const T* w, int64_t k_size, T* packed, Range panels) {
    for (int64_t p = panels.from; p < panels.to; ++p)
      for (int64_t k = 0; k < k_size; ++k)
        for (int64_t g = 0; g < G; ++g)
          for (int64_t v = 0; v < kVectors; ++v) {
            const int64_t j = (p * kVectors + v) * L;
            store(packed + ((p * k_size + k) * NV + g * kVectors + v) * L,
                  j < H_ ? load(w + (k * G + g) * H_ + j, lanes(j)) : V{});
          }
  }

  void pack(Range panels) {
    pack_weights(in(p_.w_x), D_, w_x_, panels);
    pack_weights(in(p_.w_h), H_, w_h_, panels);
    pack_weights(in(p_.b), 1, bias_, panels);
    for (int64_t e = 0; e < Cell::kExtra; ++e)  // padded to whole vectors
      for (int64_t j = panels.from * kVectors * L; j < panels.to * kVectors * L; j += L)
        store(extra_ + e * width_ + j, j < H_ ? load(in(p_.extra) + e * H_ + j, lanes(j)) : V{});
  }

  void load_carry(Range rows, Range panels) {
    for (int64_t b = rows.from; b < rows.to; ++b) {
      const bool fresh = p_.steps && schedule_.restarts(schedule_.time(0), b);
      for (int64_t j = panels.from * kVectors * L; j < panels.to * kVectors * L; j += L) {
        const int64_t n = lanes(j) < 0 ? 0 : lanes(j), from = b * H_ + j, to = b * width_ + j;
        const V h = load(in(fresh ? p_.h_fresh : p_.h) + (n ? from : 0), n);
        store(h_[0] + to, h);
        if (!p_.steps) store(out(p_.h_last) + from, h, n);
        if constexpr (Cell::kHasC) {
          const V c = load(in(fresh ? p_.c_fresh : p_.c) + (n ? from : 0), n);
          store(c_ + to, c);
          if (!p_.steps) store(out(p_.c_last) + from, c, n);
        }
      }
    }
  }

  // z = x W_x + b for the chunk of steps that begins at s: [panels][step, row][NV][L].
  void project(T* z, int64_t s, Range rows, Range panels) {
    const int64_t R = rows.size(), all = min(chunk_, p_.steps - s) * R;
    for (int64_t p = panels.from; p < panels.to; ++p)
      for_each_group(all, [&](int64_t first, int64_t count) {
        const T* x[kGroup];
        for (int64_t i = 0; i < count; ++i) {
          const int64_t t = schedule_.time(s + (first + i) / R), b = rows.from + (first + i) % R;
          x[i] = in(p_.xs) + (t * B_ + b) * D_;
        }
        product<T, NV>(count, x, w_x_ + p * D_ * W, D_, bias_ + p * W, 0,
                       z + (p * chunk_ * rows_ + first) * W, W);
      });
  }

  void step(const T* z, int64_t s, Range rows, Range panels) {
    const T* h_old = h_[s % 2];
    for (int64_t p = panels.from; p < panels.to; ++p) {
      const T* z_p = z + (p * chunk_ * rows_ + s % chunk_ * rows.size()) * W;
      for_each_group(rows.size(), [&](int64_t first, int64_t count) {
        alignas(64) T sums[kGroup * W];
        const T* h[kGroup] = {};
        for (int64_t i = 0; i < count; ++i) h[i] = h_old + (rows.from + first + i) * width_;
        const T* z_0 = z_p + first * W;
        product<T, NV>(count, h, w_h_ + p * H_ * W, H_, Cell::kSeparateRecurrent ? nullptr : z_0, W,
                       sums, W);
        for (int64_t i = 0; i < count; ++i)
          update(s, rows.from + first + i, p, z_0 + i * W, sums + i * W);
      });
    }
  }

  // The pointwise part of a step for one row and one panel of hidden units.
  void update(int64_t s, int64_t b, int64_t panel, const T* z_row, const T* sums) {
    const int64_t t = schedule_.time(s), row = t * B_ + b;
    const bool valid = schedule_.valid(t, b), last = s + 1 == p_.steps;
    const bool restart = !last && schedule_.restarts(schedule_.time(s + 1), b);
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t j = (panel * kVectors + v) * L, n = lanes(j), at = b * width_ + j;
      if (n <= 0) return;
      V z[G], s_g[G], extra[Cell::kExtra + 1], tape[Cell::kTape], h, c{};
      for (int64_t g = 0; g < G; ++g) {
        z[g] = load((Cell::kSeparateRecurrent ? z_row : sums) + (g * kVectors + v) * L);
        if constexpr (Cell::kSeparateRecurrent) s_g[g] = load(sums + (g * kVectors + v) * L);
      }
      for (int64_t e = 0; e < Cell::kExtra; ++e) extra[e] = load(extra_ + e * width_ + j);
      const V h_tm1 = load(h_[s % 2] + at);
      if constexpr (Cell::kHasC) c = load(c_ + at);
      const V c_tm1 = c;
      Cell::forward(z, s_g, extra, h_tm1, tape, h, c);
      store(out(p_.ys) + row * H_ + j, valid ? h : V{}, n);
      if (p_.tape) {
        for (int64_t g = 0; g < Cell::kTape; ++g)
          store(out(p_.tape) + (row * Cell::kTape + g) * H_ + j, tape[g], n);
        store(out(p_.h_tm1) + row * H_ + j, h_tm1, n);
        if constexpr (Cell::kHasC) store(out(p_.c_tm1) + row * H_ + j, c_tm1, n);
      }
      if (!valid) h = h_tm1, c = c_tm1;
      if (last) {
        store(out(p_.h_last) + b * H_ + j, h, n);
        if constexpr (Cell::kHasC) store(out(p_.c_last) + b * H_ + j, c, n);
      }
      if (restart) {
        h = load(in(p_.h_fresh) + b * H_ + j, n);
        if constexpr (Cell::kHasC) c = load(in(p_.c_fresh) + b * H_ + j, n);
      }
      store(h_[(s + 1) % 2] + at, h);
      if constexpr (Cell::kHasC) store(c_ + at, c);
    }
  }

  const Forward& p_;
  const Schedule schedule_;
  Context& context_;
  const int64_t B_, D_, H_, panels_, width_;
  int64_t rows_ = 0, chunk_ = 1, z_size_ = 0;
  T *w_x_ = nullptr, *w_h_ = nullptr, *bias_ = nullptr, *extra_ = nullptr, *h_[2] = {};
  T *c_ = nullptr, *z_ = nullptr;
};

}  // namespace rnnjax::RNNJAX_ISA
