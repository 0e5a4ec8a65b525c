// The kernels of every cell for one instruction set: setup.py compiles this file once for each,
// with its flags and RNNJAX_ISA.

#include "isa.h"
#include "kernels.h"

#include "backward.h"
#include "forward.h"
#include "gradients.h"

namespace rnnjax {
namespace RNNJAX_ISA {

extern const LinearKernels kLinear;  // linear.cc

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
                            },
                            &kLinear};

}  // namespace
}  // namespace RNNJAX_ISA

const Kernels* RNNJAX_JOIN(kernels_, RNNJAX_ISA)() { return &RNNJAX_ISA::kTable; }

}  // namespace rnnjax
