// The interface between the FFI handlers and the kernels of each instruction set: plain pointers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnjax {

// Bytes of memory that the system may hand out at once.
constexpr int64_t kHugePage = 1 << 21;

// Outputs from this size on are beyond the caches, and XLA's allocator maps them anew at every call,
// while it reuses the memory of smaller ones.
constexpr int64_t kLargeOutput = 1 << 25;

// Threads and scratch memory for one call.
class Context {
 public:
  virtual ~Context() = default;
  virtual int64_t threads() const = 0;
  // Calls body(data, phase, unit) once for every unit of every phase, with a barrier between
  // phases.
  virtual void run(int64_t phases, int64_t units, void (*body)(void*, int64_t, int64_t),
                   void* data) = 0;
  // Uninitialised memory, aligned to a cache line, that lives until the call ends.
  virtual void* allocate(size_t bytes) = 0;
  // Clears the pages of memory that is about to be written, if the system has not yet: otherwise it
  // does so where each is first written. What is written already stays, in other threads too.
  virtual void clear_pages(void* memory, size_t bytes) = 0;
};

// Arrays are row-major with time first; nullptr where absent. G, `tape` and E are the cell's gates,
// tape and extra (see CellTraits).
struct Sizes {
  int64_t steps, batch, inputs, hidden;
  bool reverse;
  const int32_t* lengths;  // [B]: the carry of row b is frozen from step lengths[b] on
  const uint8_t* begins;   // [T, B]: the carry restarts from the fresh one before this step
};

struct Forward : Sizes {
  const void *xs, *w_x, *w_h, *b, *extra;  // [T, B, D], [D, GH], [H, GH], [GH], [EH]
  const void *h, *c, *h_fresh, *c_fresh;   // [B, H]
  void *ys, *h_last, *c_last;              // [T, B, H], [B, H], [B, H]
  void *tape, *h_tm1, *c_tm1;              // [T, B, tape H], [T, B, H], [T, B, H]
};

struct Backward : Sizes {
  const void *w_h, *extra, *tape, *h_tm1, *c_tm1;
  const void *ys_ct, *h_last_ct, *c_last_ct;
  void* delta;                                  // [T, B, tape H]; may be `tape`
  void *h_ct, *c_ct, *h_fresh_ct, *c_fresh_ct;  // [B, H]
  void* extra_ct;                               // [B, EH]: summed over time, not over the batch
};

// The matrix products after the backward loop, over N = T B examples: every time step of every
// row of the batch.
struct WeightGradients {
  int64_t examples, inputs, hidden;
  const void *xs, *h_tm1, *delta;  // [N, D], [N, H], [N, tape H]
  void *w_x_ct, *w_h_ct, *b_ct;    // [D, GH], [H, GH], [GH]
};

struct InputGradients {
  int64_t examples, inputs, hidden;
  const void *w_x, *delta;  // [D, GH], [N, tape H]
  void* xs_ct;              // [N, D]
};

// The recurrence h_t = a_t h_{t-1} + b_t, entry by entry; begins as in `Sizes`: there h_t = b_t.
struct LinearSizes {
  int64_t steps, batch, features;
  bool reverse;
  const uint8_t* begins;  // [T, B]
};

struct LinearForward : LinearSizes {
  const void *a, *b, *h;  // [T, B, F], [T, B, F], [B, F]
  void* hs;               // [T, B, F]; may be `b`
};

struct LinearBackward : LinearSizes {
  const void *a, *hs, *h;        // hs and h are read for a_ct alone
  const void *hs_ct, *last_ct;   // [T, B, F], [B, F]
  void *a_ct, *b_ct, *h_ct;      // [T, B, F] or nullptr, [T, B, F]; may be `hs_ct`, [B, F]
};

#define RNNJAX_CELL(name, Cell) +1
constexpr int64_t kCells =
#include "cells.def"
    ;

// A cell as the FFI handlers and Python see it, from the constants that cells.h explains. Python
// reads this struct through ctypes: see `_CellTraits` in _native_library.py.
struct CellTraits {
  const char* name;
  int64_t gates, tape, recurrent_offset, extra;
  bool has_c;
};

// The kernels of one cell, for float32 [0] and float64 [1].
struct CellKernels {
  CellTraits traits;
  void (*forward[2])(const Forward&, Context&);
  void (*backward[2])(const Backward&, Context&);
  void (*weight_gradients[2])(const WeightGradients&, Context&);
  void (*input_gradients[2])(const InputGradients&, Context&);
};

// For float32, float64, and complex numbers of these.
struct LinearKernels {
  void (*forward[4])(const LinearForward&, Context&);
  void (*backward[4])(const LinearBackward&, Context&);
};

struct Kernels {
  const char* instruction_set;
  CellKernels cells[kCells];
  const LinearKernels* linear;
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

}  // namespace rnnjax
