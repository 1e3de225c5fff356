// Parameter updates in place: one pass over memory, the formulas and the order of operations of
// PyTorch's optimisers. Numbers below the normal range count as 0: moments of dead units decay there.
// All pointers are to n contiguous elements, float or double.
#pragma once
#include <cmath>
#include <cstdint>

namespace wengert::kernels {

struct SgdStep {
  double lr, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
  bool first = false;  // the momentum buffer holds nothing yet: it becomes the gradient
};

// p -= lr d, where d = g + weight_decay p passes through the buffer: b = momentum b + (1 -
// dampening) d, then d = b, or d + momentum b (Nesterov). `buffer` is null where momentum is 0.
template <class T>
void sgd_update(T* p, const T* g, T* buffer, int64_t n, const SgdStep& step);

struct AdamStep {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = false;  // AdamW: p *= 1 - lr weight_decay instead of g += weight_decay p
  bool maximize = false;
  double correction1 = 1, correction2 = 1;  // 1 - beta^count
  int64_t count = 0;

  // Makes this update number `t`.
  void set_count(int64_t t) {
    if (t == count) return;
    count = t;
    correction1 = 1 - std::pow(beta1, double(t));
    correction2 = 1 - std::pow(beta2, double(t));
  }
};

// m += (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2,
// p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps).
// With `v_max` (AMSGrad) the running maximum of v takes its place in the last line.
template <class T>
void adam_update(T* p, const T* g, T* m, T* v, T* v_max, int64_t n, const AdamStep& step);

struct RmsPropStep {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool maximize = false;
};

// s = alpha s + (1 - alpha) d^2, where d = g + weight_decay p, and p -= lr d / (sqrt(s) + eps).
// With `mean`, m += (1 - alpha) (d - m), the root is of s - m^2; with `buffer`, b = momentum b + d
// / (root
// + eps) and p -= lr b.
template <class T>
void rmsprop_update(T* p, const T* g, T* square, T* mean, T* buffer, int64_t n,
                    const RmsPropStep& step);

// Adds 1 to the counts at n distinct places; whether they are known to be equal then.
bool advance_counts(int64_t* counts, const int64_t* places, int64_t n);

// x *= factor; and the sum of x[i]^2, the same for any number of threads.
template <class T>
void scale_in_place(T* x, int64_t n, double factor);
template <class T>
double sum_of_squares(const T* x, int64_t n);

}  // namespace wengert::kernels
