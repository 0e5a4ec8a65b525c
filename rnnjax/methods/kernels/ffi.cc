// The XLA FFI handlers: they validate every shape and dtype, then call the kernels on plain
// pointers.

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <new>
#include <string>

#include "kernels.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace rnnjax {
namespace {

namespace ffi = xla::ffi;
using ffi::AnyBuffer;
using Result = ffi::Result<AnyBuffer>;
using Dims = std::initializer_list<int64_t>;

// The kernels for the best instruction set of this CPU, or for the lesser one that the environment
// variable RNNJAX_NATIVE_ISA names.
const Kernels& kernels() {
  static const Kernels* const best = [] {
    const char* wanted = std::getenv("RNNJAX_NATIVE_ISA");
    const std::string isa = wanted ? wanted : "";
#ifdef RNNJAX_X86
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512bw");
    if (avx512 && isa != "avx2" && isa != "portable") return kernels_avx512();
    if (avx2 && isa != "portable") return kernels_avx2();
#endif
    return kernels_portable();
  }();
  return *best;
}

// Validates the arguments of a call and keeps the first error.
class Checker {
 public:
  explicit Checker(ffi::DataType dtype) : dtype_(dtype) {
    if (dtype != ffi::F32 && dtype != ffi::F64) fail("expected float32 or float64");
  }

  // For kernels of real and complex numbers.
  static Checker of_any(ffi::DataType dtype) {
    Checker checker;
    checker.dtype_ = dtype;
    if (precision(dtype) < 0) checker.fail("expected float32, float64, complex64 or complex128");
    return checker;
  }

  // The place of a dtype in the tables of such kernels.
  static int precision(ffi::DataType dtype) {
    const ffi::DataType known[] = {ffi::F32, ffi::F64, ffi::C64, ffi::C128};
    for (int i = 0; i < 4; ++i)
      if (known[i] == dtype) return i;
    return -1;
  }

  const void* input(const char* name, const AnyBuffer& x, Dims dims) {
    return check(name, x, dims, dtype_);
  }

  // nullptr for an absent array, which is passed with no elements.
  const void* optional(const char* name, const AnyBuffer& x, Dims dims) {
    return x.element_count() == 0 ? nullptr : check(name, x, dims, dtype_);
  }

  template <typename N>
  const N* flags(const char* name, const AnyBuffer& x, Dims dims, ffi::DataType dtype) {
    if (x.element_count() == 0) return nullptr;
    return static_cast<const N*>(check(name, x, dims, dtype));
  }

  void* output(const char* name, Result& x, Dims dims) {
    void* memory = check(name, *x, dims, dtype_);
    if (ok() && x->size_bytes() >= size_t{kLargeOutput}) use_huge_pages(memory, x->size_bytes());
    return memory;
  }

  void* optional_output(const char* name, Result& x, Dims dims) {
    return x->element_count() == 0 ? nullptr : output(name, x, dims);
  }

  void require(bool condition, const char* what) {
    if (!condition) fail(what);
  }

  bool ok() const { return message_.empty(); }
  ffi::Error error() const { return ffi::Error::InvalidArgument("rnnjax native: " + message_); }

 private:
  Checker() = default;

  void* check(const char* name, const AnyBuffer& x, Dims dims, ffi::DataType dtype) {
    const auto got = x.dimensions();
    if (x.element_type() != dtype)
      fail(std::string(name) + " has the wrong dtype");
    else if (got.size() != dims.size() || !std::equal(dims.begin(), dims.end(), got.begin()))
      fail(std::string(name) + " has shape " + text(got) + ", expected " + text(dims));
    return x.untyped_data();
  }

  template <typename Shape>
  static std::string text(const Shape& shape) {
    std::string s = "[";
    for (int64_t d : shape) s += (s.size() > 1 ? ", " : "") + std::to_string(d);
    return s + "]";
  }

  void fail(const std::string& message) {
    if (message_.empty()) message_ = message;
  }

  ffi::DataType dtype_;
  std::string message_;
};

template <typename Call, typename Kernel>
ffi::Error run(Kernel kernel, const Call& call, ffi::ThreadPool pool) {
  try {
    Team team(pool);
    kernel(call, team);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "rnnjax native: out of memory");
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("rnnjax native: ") + error.what());
  }
  return ffi::Error::Success();
}

ffi::Error forward(ffi::ThreadPool pool, int64_t cell, bool reverse, AnyBuffer xs, AnyBuffer w_x,
                   AnyBuffer w_h, AnyBuffer b, AnyBuffer extra, AnyBuffer h, AnyBuffer c,
                   AnyBuffer h_fresh, AnyBuffer c_fresh, AnyBuffer lengths, AnyBuffer begins,
                   Result ys, Result h_last, Result c_last, Result tape, Result h_tm1,
                   Result c_tm1) {
  Checker check(xs.element_type());
  check.require(cell >= 0 && cell < kCells, "no such cell");
  check.require(xs.dimensions().size() == 3, "xs is not [T, B, D]");
  check.require(w_h.dimensions().size() == 2, "w_h is not [H, G H]");
  if (!check.ok()) return check.error();
  const CellKernels& kernel = kernels().cells[cell];
  const CellTraits& traits = kernel.traits;
  const int64_t T = xs.dimensions()[0], B = xs.dimensions()[1], D = xs.dimensions()[2];
  const int64_t H = w_h.dimensions()[0], GH = traits.gates * H;
  const bool has_c = traits.has_c;
  Forward f{};
  f.steps = T, f.batch = B, f.inputs = D, f.hidden = H, f.reverse = reverse;
  f.lengths = check.flags<int32_t>("lengths", lengths, {B}, ffi::S32);
  f.begins = check.flags<uint8_t>("begins", begins, {T, B}, ffi::PRED);
  f.xs = check.input("xs", xs, {T, B, D});
  f.w_x = check.input("w_x", w_x, {D, GH});
  f.w_h = check.input("w_h", w_h, {H, GH});
  f.b = check.input("b", b, {GH});
  f.extra = check.input("extra", extra, {traits.extra * H});
  f.h = check.input("h", h, {B, H});
  f.c = check.input("c", c, {has_c ? B : 0, H});
  f.h_fresh = check.optional("h_fresh", h_fresh, {B, H});
  f.c_fresh = check.optional("c_fresh", c_fresh, {B, H});
  f.ys = check.output("ys", ys, {T, B, H});
  f.h_last = check.output("h_last", h_last, {B, H});
  f.c_last = check.output("c_last", c_last, {has_c ? B : 0, H});
  f.tape = check.optional_output("tape", tape, {T, B, traits.tape * H});
  f.h_tm1 = check.optional_output("h_tm1", h_tm1, {T, B, H});
  f.c_tm1 = check.optional_output("c_tm1", c_tm1, {T, B, H});
  check.require(!f.tape || (f.h_tm1 && (f.c_tm1 || !has_c)), "half of the tape is missing");
  check.require(!f.begins || (f.h_fresh && (f.c_fresh || !has_c)), "no carry to restart from");
  if (!check.ok()) return check.error();
  return run(kernel.forward[xs.element_type() == ffi::F64], f, pool);
}

ffi::Error backward(ffi::ThreadPool pool, int64_t cell, bool reverse, AnyBuffer w_h,
                    AnyBuffer extra, AnyBuffer tape, AnyBuffer h_tm1, AnyBuffer c_tm1,
                    AnyBuffer ys_ct, AnyBuffer h_last_ct, AnyBuffer c_last_ct, AnyBuffer lengths,
                    AnyBuffer begins, Result delta, Result h_ct, Result c_ct, Result h_fresh_ct,
                    Result c_fresh_ct, Result extra_ct) {
  Checker check(w_h.element_type());
  check.require(cell >= 0 && cell < kCells, "no such cell");
  check.require(w_h.dimensions().size() == 2, "w_h is not [H, G H]");
  check.require(ys_ct.dimensions().size() == 3, "ys_ct is not [T, B, H]");
  if (!check.ok()) return check.error();
  const CellKernels& kernel = kernels().cells[cell];
  const CellTraits& traits = kernel.traits;
  const int64_t T = ys_ct.dimensions()[0], B = ys_ct.dimensions()[1], H = w_h.dimensions()[0];
  const bool has_c = traits.has_c;
  Backward f{};
  f.steps = T, f.batch = B, f.hidden = H, f.reverse = reverse;
  f.lengths = check.flags<int32_t>("lengths", lengths, {B}, ffi::S32);
  f.begins = check.flags<uint8_t>("begins", begins, {T, B}, ffi::PRED);
  f.w_h = check.input("w_h", w_h, {H, traits.gates * H});
  f.extra = check.input("extra", extra, {traits.extra * H});
  f.tape = check.input("tape", tape, {T, B, traits.tape * H});
  f.h_tm1 = check.input("h_tm1", h_tm1, {T, B, H});
  f.c_tm1 = check.input("c_tm1", c_tm1, {has_c ? T : 0, B, H});
  f.ys_ct = check.input("ys_ct", ys_ct, {T, B, H});
  f.h_last_ct = check.input("h_last_ct", h_last_ct, {B, H});
  f.c_last_ct = check.input("c_last_ct", c_last_ct, {has_c ? B : 0, H});
  f.delta = check.output("delta", delta, {T, B, traits.tape * H});
  f.h_ct = check.output("h_ct", h_ct, {B, H});
  f.c_ct = check.output("c_ct", c_ct, {has_c ? B : 0, H});
  f.h_fresh_ct = check.optional_output("h_fresh_ct", h_fresh_ct, {B, H});
  f.c_fresh_ct = check.optional_output("c_fresh_ct", c_fresh_ct, {B, H});
  f.extra_ct = check.output("extra_ct", extra_ct, {B, traits.extra * H});
  check.require(!f.begins || (f.h_fresh_ct && (f.c_fresh_ct || !has_c)),
                "no place for the gradient of the fresh carry");
  if (!check.ok()) return check.error();
  return run(kernel.backward[w_h.element_type() == ffi::F64], f, pool);
}

ffi::Error weight_gradients(ffi::ThreadPool pool, int64_t cell, AnyBuffer xs, AnyBuffer h_tm1,
                            AnyBuffer delta, Result w_x_ct, Result w_h_ct,
                            Result b_ct) {
  Checker check(xs.element_type());
  check.require(cell >= 0 && cell < kCells, "no such cell");
  check.require(xs.dimensions().size() == 2, "xs is not [N, D]");
  check.require(h_tm1.dimensions().size() == 2, "h_tm1 is not [N, H]");
  if (!check.ok()) return check.error();
  const CellKernels& kernel = kernels().cells[cell];
  const CellTraits& traits = kernel.traits;
  const int64_t N = xs.dimensions()[0], D = xs.dimensions()[1], H = h_tm1.dimensions()[1];
  const int64_t GH = traits.gates * H;
  WeightGradients g{};
  g.examples = N, g.inputs = D, g.hidden = H;
  g.xs = check.input("xs", xs, {N, D});
  g.h_tm1 = check.input("h_tm1", h_tm1, {N, H});
  g.delta = check.input("delta", delta, {N, traits.tape * H});
  g.w_x_ct = check.output("w_x_ct", w_x_ct, {D, GH});
  g.w_h_ct = check.output("w_h_ct", w_h_ct, {H, GH});
  g.b_ct = check.output("b_ct", b_ct, {GH});
  if (!check.ok()) return check.error();
  return run(kernel.weight_gradients[xs.element_type() == ffi::F64], g, pool);
}

ffi::Error input_gradients(ffi::ThreadPool pool, int64_t cell, AnyBuffer w_x, AnyBuffer delta,
                           Result xs_ct) {
  Checker check(w_x.element_type());
  check.require(cell >= 0 && cell < kCells, "no such cell");
  check.require(w_x.dimensions().size() == 2, "w_x is not [D, G H]");
  check.require(delta.dimensions().size() == 2, "delta is not [N, gates H]");
  if (!check.ok()) return check.error();
  const CellKernels& kernel = kernels().cells[cell];
  const CellTraits& traits = kernel.traits;
  InputGradients g{};
  g.examples = delta.dimensions()[0];
  g.inputs = w_x.dimensions()[0];
  g.hidden = w_x.dimensions()[1] / traits.gates;
  g.w_x = check.input("w_x", w_x, {g.inputs, traits.gates * g.hidden});
  g.delta = check.input("delta", delta, {g.examples, traits.tape * g.hidden});
  g.xs_ct = check.output("xs_ct", xs_ct, {g.examples, g.inputs});
  if (!check.ok()) return check.error();
  return run(kernel.input_gradients[w_x.element_type() == ffi::F64], g, pool);
}

ffi::Error linear_forward(ffi::ThreadPool pool, bool reverse, AnyBuffer a, AnyBuffer b, AnyBuffer h,
                          AnyBuffer begins, Result hs) {
  Checker check = Checker::of_any(a.element_type());
  check.require(a.dimensions().size() == 3, "a is not [T, B, F]");
  if (!check.ok()) return check.error();
  const int64_t T = a.dimensions()[0], B = a.dimensions()[1], F = a.dimensions()[2];
  LinearForward f{};
  f.steps = T, f.batch = B, f.features = F, f.reverse = reverse;
  f.begins = check.flags<uint8_t>("begins", begins, {T, B}, ffi::PRED);
  f.a = check.input("a", a, {T, B, F});
  f.b = check.input("b", b, {T, B, F});
  f.h = check.input("h", h, {B, F});
  f.hs = check.output("hs", hs, {T, B, F});
  if (!check.ok()) return check.error();
  return run(kernels().linear->forward[Checker::precision(a.element_type())], f, pool);
}

ffi::Error linear_backward(ffi::ThreadPool pool, bool reverse, AnyBuffer a, AnyBuffer hs,
                           AnyBuffer h, AnyBuffer begins, AnyBuffer hs_ct, AnyBuffer last_ct,
                           Result a_ct, Result b_ct, Result h_ct) {
  Checker check = Checker::of_any(a.element_type());
  check.require(a.dimensions().size() == 3, "a is not [T, B, F]");
  if (!check.ok()) return check.error();
  const int64_t T = a.dimensions()[0], B = a.dimensions()[1], F = a.dimensions()[2];
  LinearBackward f{};
  f.steps = T, f.batch = B, f.features = F, f.reverse = reverse;
  f.begins = check.flags<uint8_t>("begins", begins, {T, B}, ffi::PRED);
  f.a = check.input("a", a, {T, B, F});
  f.hs = check.optional("hs", hs, {T, B, F});
  f.h = check.optional("h", h, {B, F});
  f.hs_ct = check.input("hs_ct", hs_ct, {T, B, F});
  f.last_ct = check.input("last_ct", last_ct, {B, F});
  f.a_ct = check.optional_output("a_ct", a_ct, {T, B, F});
  f.b_ct = check.output("b_ct", b_ct, {T, B, F});
  f.h_ct = check.output("h_ct", h_ct, {B, F});
  check.require(!f.a_ct || (f.hs && f.h), "a_ct needs hs and h");
  if (!check.ok()) return check.error();
  return run(kernels().linear->backward[Checker::precision(a.element_type())], f, pool);
}

}  // namespace
}  // namespace rnnjax

#define RNNJAX_ARG4 .Arg<AnyBuffer>().Arg<AnyBuffer>().Arg<AnyBuffer>().Arg<AnyBuffer>()
#define RNNJAX_RET2 .Ret<AnyBuffer>().Ret<AnyBuffer>()

using xla::ffi::AnyBuffer;

// To be raised, with _VERSION in _native_library.py, whenever the interface to Python changes.
extern "C" int64_t rnnjax_version() { return 3; }

extern "C" const char* rnnjax_instruction_set() {
  return rnnjax::kernels().instruction_set;
}

// The table of compiled cells, for indices from 0; nullptr after the last.
extern "C" const rnnjax::CellTraits* rnnjax_cell(int64_t index) {
  const bool exists = index >= 0 && index < rnnjax::kCells;
  return exists ? &rnnjax::kernels().cells[index].traits : nullptr;
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    rnnjax_forward, rnnjax::forward,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Attr<int64_t>("cell").Attr<bool>(
        "reverse") RNNJAX_ARG4 RNNJAX_ARG4 .Arg<AnyBuffer>().Arg<AnyBuffer>().Arg<AnyBuffer>()
        RNNJAX_RET2 RNNJAX_RET2 RNNJAX_RET2);

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    rnnjax_backward, rnnjax::backward,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Attr<int64_t>("cell").Attr<bool>(
        "reverse") RNNJAX_ARG4 RNNJAX_ARG4 .Arg<AnyBuffer>().Arg<AnyBuffer>()
        RNNJAX_RET2 RNNJAX_RET2 RNNJAX_RET2);

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    rnnjax_weight_gradients, rnnjax::weight_gradients,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Attr<int64_t>("cell").Arg<AnyBuffer>()
        .Arg<AnyBuffer>().Arg<AnyBuffer>() RNNJAX_RET2 .Ret<AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    rnnjax_input_gradients, rnnjax::input_gradients,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Attr<int64_t>("cell").Arg<AnyBuffer>()
        .Arg<AnyBuffer>().Ret<AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    rnnjax_linear_forward, rnnjax::linear_forward,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Attr<bool>("reverse") RNNJAX_ARG4
        .Ret<AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    rnnjax_linear_backward, rnnjax::linear_backward,
    xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().Attr<bool>("reverse") RNNJAX_ARG4
        .Arg<AnyBuffer>().Arg<AnyBuffer>() RNNJAX_RET2 .Ret<AnyBuffer>());
