#include "graph/trace.h"

namespace wengert {
namespace {

std::vector<Trace*>& open_traces() {
  thread_local std::vector<Trace*> traces;
  return traces;
}

}  // namespace

Trace::Trace() { open_traces().push_back(this); }
Trace::~Trace() { close(); }

void Trace::close() {
  if (open_) std::erase(open_traces(), this);
  open_ = false;
}

Var Trace::input(const Type& type) { return Var(make_value(Array(type))); }

Trace* Trace::current() { return open_traces().empty() ? nullptr : open_traces().back(); }

}  // namespace wengert
