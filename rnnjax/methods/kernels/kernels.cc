// Every cell's loops for one instruction set, which the build's flags and RNNJAX_ISA name.

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

template <typename T>
using Tanh = Vanilla<T, false>;
template <typename T>
using Relu = Vanilla<T, true>;

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
void weights(const WeightGradients& call, Context& context) {
  WeightSums<Cell, T>(call, context).run_all();
}

template <template <typename> class Cell, typename T>
void inputs(const InputGradients& call, Context& context) {
  input_gradients<Cell, T>(call, context);
}

template <template <typename> class Cell, typename T>
constexpr CellTraits traits = {Cell<T>::kGates, Cell<T>::kTape, Cell<T>::kHasC, Cell<T>::kApart};

#define RNNJAX_BOTH(f, Cell) {f<Cell, float>, f<Cell, double>}
#define RNNJAX_CELLS(f)                                                                 \
  {RNNJAX_BOTH(f, Tanh), RNNJAX_BOTH(f, Relu), RNNJAX_BOTH(f, Lstm), RNNJAX_BOTH(f, Lstm1997), \
   RNNJAX_BOTH(f, Gru)}

const Kernels kTable = {
    RNNJAX_TEXT(RNNJAX_ISA),
    {traits<Tanh, float>, traits<Relu, float>, traits<Lstm, float>, traits<Lstm1997, float>,
     traits<Gru, float>},
    RNNJAX_CELLS(forward),
    RNNJAX_CELLS(backward),
    RNNJAX_CELLS(weights),
    RNNJAX_CELLS(inputs),
};

}  // namespace
}  // namespace RNNJAX_ISA

const Kernels* RNNJAX_JOIN(kernels_, RNNJAX_ISA)() { return &RNNJAX_ISA::kTable; }

}  // namespace rnnjax
