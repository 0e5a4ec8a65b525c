// What passes between the FFI boundary and the kernels of each instruction set: plain pointers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnjax {

// Threads and memory for one call.
class Context {
 public:
  virtual ~Context() = default;
  virtual int64_t threads() const = 0;
  // body(data, phase, unit) once for every unit of every phase; a phase begins when the one
  // before it has ended.
  virtual void run(int64_t phases, int64_t units, void (*body)(void*, int64_t, int64_t),
                   void* data) = 0;
  // Memory aligned to a cache line, until the call ends.
  virtual void* allocate(size_t bytes) = 0;
};

// Arrays are row-major with time first; nullptr where absent. `gates` is kTape of the cell.
struct Sizes {
  int64_t steps, batch, inputs, hidden;
  bool reverse;
  const int32_t* lengths;  // [B]: row b is frozen from step lengths[b] on
  const uint8_t* begins;   // [T, B]: the state restarts from `fresh` before this step
};

struct Forward : Sizes {
  const void *xs, *w_x, *w_h, *b, *b_hn;      // [T, B, D], [D, GH], [H, GH], [GH], [H]
  const void *h, *c, *h_fresh, *c_fresh;      // [B, H]
  void *ys, *h_last, *c_last;                 // [T, B, H], [B, H], [B, H]
  void *tape, *h_tm1, *c_tm1;                 // [T, B, gates H], [T, B, H], [T, B, H]
};

struct Backward : Sizes {
  const void *w_h, *tape, *h_tm1, *c_tm1;
  const void *ys_ct, *h_last_ct, *c_last_ct;
  void *delta;                                // [T, B, gates H]; may be `tape`
  void *h_ct, *c_ct, *h_fresh_ct, *c_fresh_ct;
};

// What follows the backward loop, with N = T B examples of one step.
struct WeightGradients {
  int64_t examples, inputs, hidden;
  const void *xs, *h_tm1, *delta;        // [N, D], [N, H], [N, gates H]
  void *w_x_ct, *w_h_ct, *b_ct, *b_hn_ct;
};

struct InputGradients {
  int64_t examples, inputs, hidden;
  const void *w_x, *delta;
  void* xs_ct;                           // [N, D]
};

constexpr int kCells = 5;

// What the boundary must know of a cell; see cells.h.
struct CellTraits {
  int64_t gates, tape;
  bool has_c, has_b_hn;
};

// By cell (the order of RNNJAX_CELLS and of KERNELS in Python) and by whether numbers are doubles.
struct Kernels {
  const char* instruction_set;
  CellTraits traits[kCells];
  void (*forward[kCells][2])(const Forward&, Context&);
  void (*backward[kCells][2])(const Backward&, Context&);
  void (*weights[kCells][2])(const WeightGradients&, Context&);
  void (*inputs[kCells][2])(const InputGradients&, Context&);
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

}  // namespace rnnjax
