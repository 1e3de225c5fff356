#include "program/cut.h"

#include <algorithm>
#include <deque>
#include <limits>

namespace wengert {
namespace {

constexpr int32_t source = 0, sink = 1;
constexpr int64_t endless = INT64_MAX / 4;
constexpr double most = 1e15;  // of all that is finite
constexpr int64_t most_looks = 20'000'000;  // at edges, before the last cut of a hull

}  // namespace

// On the source's side of the cut are the buffers that are needed again and the steps that are carried
// out again. A needed buffer that its step does not make again is stored: the edge from the one to the
// other costs its bytes at the price, or its moves to a disk and back where those are cheaper. A step carried
// out again costs its time, and what it reads is needed.
Cuts::Cuts(const Program& program, const Storage& storage, std::span<const double> seconds, std::size_t frontier,
           std::vector<double> moving)
    : program_(program), storage_(storage), seconds_(seconds), frontier_(frontier), moving_(std::move(moving)),
      node_of_(storage.bytes.size(), -1), node_of_step_(program.steps.size(), -1), of_(2) {
  double sum = 0;
  for (std::size_t s = 0; s < frontier; ++s) sum += seconds[s];
  scale_ = sum > 0 ? 1e12 / sum : 0;
  auto new_node = [&] {
    of_.emplace_back();
    return int32_t(of_.size()) - 1;
  };
  for (std::size_t b = 0; b < storage.bytes.size(); ++b) {
    const int32_t maker = storage.maker[b];
    if (maker < 0 || std::size_t(maker) >= frontier) continue;
    buffers_.push_back(int32_t(b));
    node_of_[b] = new_node();
  }
  for (const int32_t b : buffers_) {
    const auto maker = std::size_t(storage.maker[std::size_t(b)]);
    int32_t stored_unless = sink;
    if (!storage.fixed[std::size_t(b)]) {
      int32_t& again = node_of_step_[maker];
      if (again < 0) {
        again = new_node();
        connect(again, sink, int64_t(seconds[maker] * scale_));
        for (const ValueId id : program.steps[maker].ins)
          if (const int32_t read = node_of_[std::size_t(storage.home[std::size_t(id)])]; read >= 0)
            connect(again, read, endless);
      }
      stored_unless = again;
    }
    prices_.emplace_back(edges_.size(), std::size_t(b));
    connect(node_of_[std::size_t(b)], stored_unless, 0);
  }
  std::vector<bool> asked(storage.bytes.size(), false);
  for (std::size_t s = frontier; s < program.steps.size(); ++s) {
    for (const ValueId id : program.steps[s].ins) {
      const auto b = std::size_t(storage.home[std::size_t(id)]);
      if (node_of_[b] < 0 || asked[b]) continue;
      asked[b] = true;
      connect(source, node_of_[b], endless);
    }
  }
  for (const Edge& edge : edges_) rooms_.push_back(edge.room);
}

void Cuts::connect(int32_t from, int32_t to, int64_t room) {
  of_[std::size_t(from)].push_back(int32_t(edges_.size()));
  edges_.push_back({to, room});
  of_[std::size_t(to)].push_back(int32_t(edges_.size()));
  edges_.push_back({from, 0});
}

bool Cuts::level() {
  level_.assign(of_.size(), -1);
  std::vector<int32_t> queue{source};
  level_[source] = 0;
  for (std::size_t at = 0; at < queue.size(); ++at)
    for (const int32_t e : of_[std::size_t(queue[at])]) {
      ++looked_;
      const Edge& edge = edges_[std::size_t(e)];
      if (edge.room <= 0 || level_[std::size_t(edge.to)] >= 0) continue;
      level_[std::size_t(edge.to)] = level_[std::size_t(queue[at])] + 1;
      queue.push_back(edge.to);
    }
  return level_[sink] >= 0;
}

// All paths in the levels (Dinic), each from where the last one leaves no room.
void Cuts::push() {
  std::vector<int32_t> path;
  int32_t node = source;
  for (;;) {
    if (node == sink) {
      int64_t carried = endless;
      for (const int32_t e : path) carried = std::min(carried, edges_[std::size_t(e)].room);
      std::size_t full = path.size();
      for (std::size_t i = path.size(); i-- > 0;) {
        Edge& edge = edges_[std::size_t(path[i])];
        edge.room -= carried;
        edges_[std::size_t(path[i] ^ 1)].room += carried;
        if (edge.room == 0) full = i;
      }
      looked_ += int64_t(path.size());
      node = edges_[std::size_t(path[full] ^ 1)].to;
      path.resize(full);
    }
    auto& edges = of_[std::size_t(node)];
    std::size_t& next = next_[std::size_t(node)];
    for (; next < edges.size(); ++next) {
      ++looked_;
      const Edge& edge = edges_[std::size_t(edges[next])];
      if (edge.room > 0 && level_[std::size_t(edge.to)] == level_[std::size_t(node)] + 1) break;
    }
    if (next < edges.size()) {
      path.push_back(edges[next]);
      node = edges_[std::size_t(edges[next])].to;
      continue;
    }
    if (path.empty()) return;
    level_[std::size_t(node)] = -1;
    const int32_t e = path.back();
    path.pop_back();
    node = edges_[std::size_t(e ^ 1)].to;
  }
}

Cuts::Kept Cuts::at(double price) {
  for (std::size_t e = 0; e < edges_.size(); ++e) edges_[e].room = rooms_[e];
  auto moves = [&](std::size_t buffer) {
    return !moving_.empty() && moving_[buffer] < price * double(storage_.bytes[buffer]);
  };
  for (const auto& [edge, buffer] : prices_) {
    const double seconds = moves(buffer) ? moving_[buffer] : price * double(storage_.bytes[buffer]);
    edges_[edge].room = int64_t(std::min(scale_ * seconds, most));
  }
  while (level()) {
    next_.assign(of_.size(), 0);
    push();
  }
  Kept out;
  out.buffers.assign(storage_.bytes.size(), false);
  if (!moving_.empty()) out.on_disk.assign(storage_.bytes.size(), false);
  auto on_source_side = [&](int32_t node) { return node >= 0 && level_[std::size_t(node)] >= 0; };
  for (const int32_t b : buffers_) {
    const auto maker = std::size_t(storage_.maker[std::size_t(b)]);
    const bool again = on_source_side(node_of_step_[maker]);
    const bool needed = on_source_side(node_of_[std::size_t(b)]);
    if (!needed || again) continue;
    if (moves(std::size_t(b))) {
      out.on_disk[std::size_t(b)] = true;
      out.seconds += moving_[std::size_t(b)];
    } else {
      out.buffers[std::size_t(b)] = true;
      out.bytes += storage_.bytes[std::size_t(b)];
    }
  }
  for (std::size_t s = 0; s < frontier_; ++s)
    if (on_source_side(node_of_step_[s])) out.seconds += seconds_[s];
  return out;
}

std::vector<Cuts::Kept> Cuts::hull(int most) {
  double dearest = 0, cheapest = std::numeric_limits<double>::infinity(), sum = 0;
  for (const int32_t b : buffers_) {
    const int64_t bytes = storage_.bytes[std::size_t(b)];
    if (bytes <= 0) continue;
    const double own = seconds_[std::size_t(storage_.maker[std::size_t(b)])];
    sum += own;
    cheapest = std::min(cheapest, own / double(bytes));
  }
  if (sum <= 0) return {};
  for (const int32_t b : buffers_)
    if (const int64_t bytes = storage_.bytes[std::size_t(b)]; bytes > 0)
      dearest = std::max(dearest, 2 * sum / double(bytes));
  std::vector<Kept> out{at(cheapest * 1e-3), at(dearest)};
  // Between two optima at the price at which they cost the same there is a better one, or none.
  std::deque<std::pair<Kept, Kept>> gaps{{out[0], out[1]}};
  for (int used = 2; used < most && !gaps.empty() && looked_ < most_looks;) {
    const auto [more, less] = std::move(gaps.front());
    gaps.pop_front();
    if (less.bytes >= more.bytes || less.seconds <= more.seconds) continue;
    const double price = (less.seconds - more.seconds) / double(more.bytes - less.bytes);
    Kept found = at(price);
    ++used;
    const double was = more.seconds + price * double(more.bytes), is = found.seconds + price * double(found.bytes);
    if (is >= was * (1 - 1e-9)) continue;
    gaps.emplace_back(more, found);
    gaps.emplace_back(found, less);
    out.push_back(std::move(found));
  }
  std::sort(out.begin(), out.end(), [](const Kept& a, const Kept& b) { return a.bytes > b.bytes; });
  return out;
}

}  // namespace wengert
