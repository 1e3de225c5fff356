// Changes of a tensor's memory: what forbids one, who else would see it, and the augmented operators.
#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/source.h"
#include "graph/tangents.h"
#include "graph/tape.h"
#include "kernels/copy.h"
#include "ops/families.h"
#include "ops/vocabulary.h"

namespace wengert::bindings {
namespace {

bool is_view(const Value& x) { return x.node && x.node->op && x.node->op->view && x.node->inputs[0].value; }

// What an abstract value is a view of.
Value& origin(Value& x) {
  Value* y = &x;
  while (is_view(*y)) y = y->node->inputs[0].value.get();
  return *y;
}

// Broadcast views name one element many times: such a one is not changed in place.
bool repeats_elements(const Array& array) {
  for (std::size_t i = 0; i < array.shape().size(); ++i)
    if (array.strides()[i] == 0 && array.shape()[i] > 1) return true;
  return false;
}

void check_fits(const Var& to, const Var& from) {
  if (!(broadcast_shapes("assign", to.shape(), from.shape()) == to.shape()))
    fail(ErrorKind::shape, "assign: a value of shape ", from.shape(), " does not fit ", to.shape());
}

// The references to a tensor that is the value of one variable, while an augmented operator runs: the
// variable's, and until Python 3.13 that of the interpreter's stack.
constexpr Py_ssize_t own_references = PY_VERSION_HEX < 0x030E0000 ? 2 : 1;

// Whether something else than one variable would see a change of the tensor.
bool is_seen_elsewhere(PyObject* self, bool by_itself) {
  if (Py_REFCNT(self) > own_references + by_itself) return true;
  Value& x = *value_of(self);
  if (shown(x) > 1) return true;
  if (x.array.has_data()) return seen_outside(*x.array.buffer());
  const Value& y = origin(x);
  return !y.node || y.node->is_leaf();  // an argument of the traced function
}

// Where the elements of x are fewer in memory: also plain code makes a new tensor.
bool is_broadcast(const Var& x) {
  if (!x.is_abstract()) return repeats_elements(x.array());
  return is_view(*x.get()) && numel(x.shape()) > numel(x->node->in_type(0).shape);
}

// Whether `to` can take the value in place: neither has a history, a tangent, or no numbers yet.
bool changes_memory(const Var& to, const Var& from) {
  Recording* recording = Recording::current();
  const bool known = !from.is_abstract() || (recording && from->trace == recording->trace().id());
  return known && !to.is_abstract() && (!to->tracked || to->is_leaf) && !from->tracked && !carries_tangent(to) &&
         !carries_tangent(from);
}

}  // namespace

uint16_t& shown(Value& x) {
  const Ref<Buffer>& buffer = x.array.buffer();
  return buffer ? buffer->tensors : origin(x).tensors;
}

Var value_for(const char* where, const Var& to, PyObject* object) {
  const Var value = to_var(object, to);
  const bool numbers = is_number(object) || PyList_Check(object) || PyTuple_Check(object);
  if (!numbers) return value;
  if (value.is_abstract()) return is_float(value.dtype()) ? value : from_number(where, value, to.dtype());
  kernels::check_range(where, value.array(), to.dtype());
  return value;
}

Var as_dtype_of(const char* where, const Var& to, const Var& from) {
  return from->weak ? from_number(where, from, to.dtype()) : astype(from, to.dtype());
}

bool is_temporary(PyObject* x) {
#if PY_VERSION_HEX < 0x030E0000
  return Py_REFCNT(x) == 1;
#else
  return PyUnstable_Object_IsUniqueReferencedTemporary(x) != 0;
#endif
}

void assign(const Var& to, const Var& from, const Var& ending) {
  check_in_place("assign", to, from);
  check_fits(to, from);
  const Shape& shape = to.shape();
  Recording* recording = Recording::current();
  if (recording && !recording->is_outside(*to.get()) && (shown(*to.get()) > 1 || seen_outside(*to->array.buffer())))
    fail(ErrorKind::trace, "assign: a compiled function changes whole tensors; this one is a view, or has views, which "
         "would not see the change. Make a new value: x = x.at[key].set(value)");
  if (recording && recording->is_outside(*to.get()))
    if (const Var now = recording->read(to);
        now.is_abstract() && shown(*now.get()) > int(ending && &origin(*ending.get()) == &origin(*now.get())))
      fail(ErrorKind::trace, "assign: the compiled function still holds a view that it made of this tensor, which would "
           "not see the change; end it first (del), or copy it: view + 0");
  if (recording) {
    // What was made within has its new value nowhere but in the recording.
    if (to->python && !recording->is_outside(*to.get())) note_traced(static_cast<PyObject*>(to->python));
    return recording->assign(to, detach(broadcast_to(as_dtype_of("assign", to, from), shape)));
  }
  Tape::preserve(to.array());
  const bool overlap = from->array.buffer() == to->array.buffer();
  kernels::copy(overlap ? kernels::contiguous_copy(from.array()) : from.array(), to.array());
  note_change(to.array());
}

PyObject* update_in_place(PyObject* self, PyObject* other, PyObject* result) {
  PyObject* done = guarded([&]() -> PyObject* {
    const Var to = Var(value_of(self)), from = Var(value_of(result));
    const bool in_place = changes_memory(to, from);
    if (!in_place && to->tracked && to->is_leaf && modes().grad_enabled)
      fail(ErrorKind::graph, "in-place update: a leaf that requires a gradient changes in place only inside wg.no_grad()");
    if (is_broadcast(to)) return wrap(from);
    if (in_place) {
      assign(to, from);
      Py_INCREF(self);
      return self;
    }
    // (x *= x: the operand is one more reference. x[k] += y assigns to x[k] what comes of the view.)
    if (!is_temporary(self) && is_seen_elsewhere(self, other == self))
      fail(ErrorKind::graph, "in-place update: where derivatives are recorded or values traced it makes a new tensor, "
           "and this one is a view or an argument, or has views or other names, which would not see the change. "
           "Write x = x + y for x += y");
    check_fits(to, from);
    if (is_float(from.dtype()) && !is_float(to.dtype()))
      fail(ErrorKind::dtype, "in-place update: ", from.dtype(), " into ", to.dtype(),
           " would lose digits; convert with astype");
    return wrap(from.dtype() == to.dtype() ? from : astype(from, to.dtype()));
  });
  Py_DECREF(result);
  return done;
}

int& bodies_open() {
  thread_local int count = 0;
  return count;
}

void refuse_in_body(const char* where) {
  if (bodies_open() > 0)
    fail(ErrorKind::trace, where, ": the body of scan, cond or while_loop is recorded once, so that a change in place (or "
         "a draw, which advances its generator) would not happen at every step; carry the value in the state "
         "(c = c.at[i].set(value) for c[i] = value), or pass draws in as rows");
}

void check_in_place(const char* where, const Var& to, const Var& from) {
  refuse_in_body(where);
  if (to.is_abstract()) refuse_traced(where);
  if (from.is_abstract() && !Recording::current())
    fail(ErrorKind::trace, where, ": a tensor from outside cannot hold a traced value, at ", show_source(source_here()),
         "; return the value, or make a new tensor: x = x.at[key].set(value). (Layers with running statistics need "
         "model.eval() or track_running_stats=False here.)");
  if (to->tracked && !to->is_leaf)
    fail(ErrorKind::graph, where, ": only leaves can change in place; this tensor was made by '", to->node->name(),
         "'. Make a new one instead: x = x.at[key].set(value)");
  if (to->tracked && modes().grad_enabled)
    fail(ErrorKind::graph, where, ": a leaf that requires a gradient changes in place only inside wg.no_grad()");
  if (from->tracked && modes().grad_enabled)
    fail(ErrorKind::graph, where, ": a change in place would lose the history of the new value; make a new tensor, "
         "x = x.at[key].set(value), or give up the gradient: value.detach()");
  if (carries_tangent(to) || carries_tangent(from))
    fail(ErrorKind::graph, where, ": a change in place would lose the tangent that wg.jvp pushes; make a new tensor, "
         "x = x.at[key].set(value), or detach the value first: value.detach()");
  if (to->array.buffer()->lent)
    fail(ErrorKind::graph, where, ": a hook or a rule must not change the tensors it is given; return a new one: "
         "g * 2 for g *= 2");
  if (to->array.buffer()->read_only) fail(ErrorKind::argument, where, ": the tensor shares read-only memory");
  if (repeats_elements(to.array()))
    fail(ErrorKind::argument, where, ": the tensor is a broadcast view, whose elements share memory; copy it first: x.copy()");
  if (is_float(from.dtype()) && !is_float(to.dtype()))
    fail(ErrorKind::dtype, where, ": ", from.dtype(), " into ", to.dtype(), " would lose digits; convert with astype");
}

Lent::Lent(std::initializer_list<std::span<const Var>> groups) {
  for (const auto& group : groups)
    for (const Var& x : group)
      if (x && !x.is_abstract() && !x->array.buffer()->lent) {
        x->array.buffer()->lent = true;
        buffers_.push_back(x->array.buffer());
      }
}

Lent::~Lent() {
  for (const Ref<Buffer>& buffer : buffers_) buffer->lent = false;
}

void note_change(const Array& to) {
  ++to.buffer()->version;
  to.buffer()->changed_at = source_here();
}

}  // namespace wengert::bindings
