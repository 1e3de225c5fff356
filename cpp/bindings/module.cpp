// The module `wengert._core`: each file of this folder binds its part.
#include "bindings/tensor.h"

PYBIND11_MODULE(_core, m) {
  using namespace wengert::bindings;
  m.doc() = "The C++ core of wengert.";
  m.attr("__version__") = WENGERT_VERSION;
  bind_errors(m);
  bind_tensor(m);
  bind_numpy_protocol(m);
  bind_convert(m);
  bind_creation(m);
  bind_indexing(m);
  bind_source(m);
  bind_sweeps(m);
  bind_program(m);
  bind_compile(m);
  bind_control(m);
  bind_checkpoint(m);
  bind_runtime(m);
  bind_optim(m);
  bind_primitive(m);
  bind_side_effects(m);
  bind_ops(m);
}
