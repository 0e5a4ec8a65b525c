// The kernels of every cell for one instruction set: setup.py compiles this file once for each,
// with its flags and RNNJAX_ISA.

#ifndef RNNJAX_ISA
#define RNNJAX_ISA portable
#define RNNJAX_VECTOR_BYTES 16
#define RNNJAX_VECTOR_REGISTERS 16
#endif

#include "kernels.h"

#include "backward.h"
#include "forward.h"
#include "gradients.h"

#define RNNJAX_JOIN_(a, b) a##b
#define RNNJAX_JOIN(a, b) RNNJAX_JOIN_(a, b)
#define RNNJAX_TEXT_(a) #a
#define RNNJAX_TEXT(a) RNNJAX_TEXT_(a)

namespace rnnjax {
namespace RNNJAX_ISA {
namespace {

template <template <typename> class Cell, typename T>
void forward(const Forward& call, Context& context) {
  ForwardLoop<Cell, T>(call, context).run_all();
}

template <template <typename> class Cell, typename T>
void backward(const Backward& call, Context& context) {
  if (panel_vectors<T>(call.hidden) == 3) return BackwardLoop<Cell, T, 3>(call, context).run_all();
  BackwardLoop<Cell, T, 4>(call, context).run_all();
}

template <template <typename> class Cell, typename T>
void weight_gradients(const WeightGradients& call, Context& context) {
  WeightSums<Cell, T>(call, context).run_all();
}

template <template <typename> class Cell>
constexpr CellKernels kernels_of(const char* name) {
  using Traits = Cell<float>;
  return {{name, Traits::kGates, Traits::kTape, Traits::kRecurrentOffset, Traits::kExtra,
           Traits::kHasC},
          {forward<Cell, float>, forward<Cell, double>},
          {backward<Cell, float>, backward<Cell, double>},
          {weight_gradients<Cell, float>, weight_gradients<Cell, double>},
          {input_gradients<Cell, float>, input_gradients<Cell, double>}};
}

#define RNNJAX_CELL(name, Cell) kernels_of<Cell>(#name),
constexpr Kernels kTable = {RNNJAX_TEXT(RNNJAX_ISA),
                            {
#include "cells.def"
                            }};

}  // namespace
}  // namespace RNNJAX_ISA

const Kernels* RNNJAX_JOIN(kernels_, RNNJAX_ISA)() { return &RNNJAX_ISA::kTable; }

}  // namespace rnnjax
