// A training step of a multilayer perceptron by hand, on OpenBLAS: what a compiler of such steps can
// hope for. ReLU between layers; either softmax cross-entropy with Adam or mean squares with descent.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

extern "C" void scipy_cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k,
                                  float alpha, const float* a, int lda, const float* b, int ldb,
                                  float beta, float* c, int ldc);
extern "C" void scipy_openblas_set_num_threads(int count);

namespace {

enum { RowMajor = 101, Plain = 111, Transposed = 112 };

struct Layer {
  int inputs, outputs;
  float *weights, *biases, *weight_gradients, *bias_gradients;
  std::vector<float> z, adjoint;  // (batch, outputs)
};

struct Network {
  int batch, threads;
  bool classifies;
  float rate;
  const float *x, *y;
  const int64_t* labels;
  float* parameters;  // weights (outputs, inputs) and biases of each layer in turn
  std::vector<float> gradients, mean, square;
  std::vector<Layer> layers;
  int64_t count = 0;
};

void forward(Network& net) {
  const float* h = net.x;
  for (Layer& layer : net.layers) {
    const int n = layer.outputs;
    for (int i = 0; i < net.batch; ++i) std::copy_n(layer.biases, n, &layer.z[i * n]);
    scipy_cblas_sgemm(RowMajor, Plain, Transposed, net.batch, n, layer.inputs, 1.0f, h,
                      layer.inputs, layer.weights, layer.inputs, 1.0f, layer.z.data(), n);
    if (&layer != &net.layers.back())
      for (float& z : layer.z) z = z > 0.0f ? z : 0.0f;
    h = layer.z.data();
  }
}

float cross_entropy(const Network& net, const Layer& last, float* adjoint) {
  const int n = last.outputs;
  float loss = 0.0f;
  for (int i = 0; i < net.batch; ++i) {
    const float* z = &last.z[i * n];
    float* a = adjoint + i * n;
    const float top = *std::max_element(z, z + n);
    float total = 0.0f;
    for (int j = 0; j < n; ++j) total += a[j] = std::exp(z[j] - top);
    loss += std::log(total) + top - z[net.labels[i]];
    const float factor = 1.0f / (total * static_cast<float>(net.batch));
    for (int j = 0; j < n; ++j) a[j] *= factor;
    a[net.labels[i]] -= 1.0f / static_cast<float>(net.batch);
  }
  return loss / static_cast<float>(net.batch);
}

float mean_squares(const Network& net, const Layer& last, float* adjoint) {
  const float factor = 1.0f / static_cast<float>(last.z.size());
  float loss = 0.0f;
  for (size_t i = 0; i < last.z.size(); ++i) {
    const float error = last.z[i] - net.y[i];
    loss += error * error;
    adjoint[i] = 2.0f * factor * error;
  }
  return loss * factor;
}

void backward(Network& net) {
  for (size_t l = net.layers.size(); l-- > 0;) {
    Layer& layer = net.layers[l];
    const float* h = l > 0 ? net.layers[l - 1].z.data() : net.x;
    const int n = layer.outputs, k = layer.inputs;
    const float* a = layer.adjoint.data();
    scipy_cblas_sgemm(RowMajor, Transposed, Plain, n, k, net.batch, 1.0f, a, n, h, k, 0.0f,
                      layer.weight_gradients, k);
    std::fill_n(layer.bias_gradients, n, 0.0f);
    for (int i = 0; i < net.batch; ++i)
      for (int j = 0; j < n; ++j) layer.bias_gradients[j] += a[i * n + j];
    if (l == 0) return;
    std::vector<float>& below = net.layers[l - 1].adjoint;
    scipy_cblas_sgemm(RowMajor, Plain, Plain, net.batch, k, n, 1.0f, a, n, layer.weights, k, 0.0f,
                      below.data(), k);
    for (size_t i = 0; i < below.size(); ++i) below[i] = h[i] > 0.0f ? below[i] : 0.0f;
  }
}

void adam(Network& net) {
  constexpr float b1 = 0.9f, b2 = 0.999f, epsilon = 1e-8f;
  ++net.count;
  const double t = static_cast<double>(net.count);
  const float rate = static_cast<float>(net.rate / (1.0 - std::pow(0.9, t)));
  const float root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(0.999, t)));
  float *p = net.parameters, *m = net.mean.data(), *v = net.square.data();
  const float* g = net.gradients.data();
  for (size_t i = 0; i < net.gradients.size(); ++i) {
    m[i] = b1 * m[i] + (1.0f - b1) * g[i];
    v[i] = b2 * v[i] + (1.0f - b2) * g[i] * g[i];
    p[i] -= rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
  }
}

void descend(Network& net) {
  for (size_t i = 0; i < net.gradients.size(); ++i)
    net.parameters[i] -= net.rate * net.gradients[i];
}

}  // namespace

// `labels` is null for mean squares. Arrays are the caller's and outlive the network.
extern "C" Network* make(int count, const int* sizes, int batch, const float* x,
                         const int64_t* labels, const float* y, float* parameters, float rate,
                         int threads) {
  auto* net = new Network{batch, threads, labels != nullptr, rate, x, y, labels, parameters};
  size_t total = 0;
  for (int l = 0; l + 1 < count; ++l) total += size_t(sizes[l] + 1) * size_t(sizes[l + 1]);
  for (auto* values : {&net->gradients, &net->mean, &net->square}) values->resize(total);
  float *p = parameters, *g = net->gradients.data();
  for (int l = 0; l + 1 < count; ++l) {
    const int k = sizes[l], n = sizes[l + 1];
    const std::vector<float> values(size_t(batch) * size_t(n));
    net->layers.push_back({k, n, p, p + n * k, g, g + n * k, values, values});
    p += n * (k + 1);
    g += n * (k + 1);
  }
  return net;
}

extern "C" void restart(Network* net) {
  net->count = 0;
  for (auto* values : {&net->mean, &net->square}) std::fill(values->begin(), values->end(), 0.0f);
}

// The last step's loss.
extern "C" float take(Network* net, int steps) {
  float loss = 0.0f;
  if (net->threads > 1) scipy_openblas_set_num_threads(net->threads);
  for (int i = 0; i < steps; ++i) {
    forward(*net);
    Layer& last = net->layers.back();
    loss = net->classifies ? cross_entropy(*net, last, last.adjoint.data())
                           : mean_squares(*net, last, last.adjoint.data());
    backward(*net);
    net->classifies ? adam(*net) : descend(*net);
  }
  if (net->threads > 1) scipy_openblas_set_num_threads(1);
  return loss;
}

extern "C" void release(Network* net) { delete net; }
