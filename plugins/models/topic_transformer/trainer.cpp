#include "trainer.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include <wayfarer/error.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/stopping.hpp>

#include "fast.hpp"
#include "plain.hpp"

namespace wayfarer::topic_transformer {

flush_denormals::flush_denormals() noexcept {
#if defined(__SSE__)
  saved_ = _mm_getcsr();
  _mm_setcsr(saved_ | 0x8040u);  // flush to zero, denormals are zero
#endif
}

flush_denormals::~flush_denormals() {
#if defined(__SSE__)
  _mm_setcsr(saved_);
#endif
}

void shuffled(std::uint64_t seed, std::uint64_t epoch, std::vector<std::uint32_t>& order) {
  std::iota(order.begin(), order.end(), 0u);
  random_stream draw(seed, "shuffle", epoch);
  draw.shuffle(static_cast<std::uint32_t>(order.size()),
               [&](std::uint32_t a, std::uint32_t b) { std::swap(order[a], order[b]); });
}

namespace {

std::vector<std::uint32_t> batch_of(std::size_t index, std::size_t batch, std::size_t size) {
  std::vector<std::uint32_t> out(std::min(batch, size - index * batch));
  std::iota(out.begin(), out.end(), static_cast<std::uint32_t>(index * batch));
  return out;
}

template <class T>
class fast_learner final : public learner<T> {
 public:
  fast_learner(spec const& s, layout const& l, weights<T> const& start) : model_(s, l, start) {}

  double gradient(document_set const& data, std::span<std::uint32_t const> batch) override {
    data.counts(batch, documents_, room_);
    flush_denormals const guard;
    return model_.gradient(documents_);
  }
  void step(std::size_t update, double learning_rate) override {
    flush_denormals const guard;
    model_.step(update, learning_rate);
  }
  double loss(document_set const& data, std::size_t batch) override {
    {
      flush_denormals const guard;
      model_.prepare();
    }
    std::size_t const batches = (data.size() + batch - 1) / batch;
    std::vector<double> losses(batches);
    constexpr std::size_t tile = 16;  // batches a piece: enough to be worth a task
    parallel_for((batches + tile - 1) / tile, [&](std::size_t piece) {
      flush_denormals const guard;
      typename fast_model<T>::work_space work;
      document_set::scratch room;
      std::vector<std::uint16_t const*> documents;
      for (std::size_t b = piece * tile; b < std::min(batches, (piece + 1) * tile); ++b) {
        data.counts(batch_of(b, batch, data.size()), documents, room);
        losses[b] = model_.loss(documents, work);
      }
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(batches);
  }
  void store(weights<T>& out) const override { model_.store(out); }
  void store_gradient(weights<T>& out) const override { model_.store_gradient(out); }
  double norm(int slot) const override { return model_.norm(slot); }

 private:
  fast_model<T> model_;
  std::vector<std::uint16_t const*> documents_;
  document_set::scratch room_;
};

template <class T>
class plain_learner final : public learner<T> {
 public:
  plain_learner(spec const& s, layout const& l, weights<T> const& start) : spec_(s), layout_(l), w_(start) {
    g_.values.assign(l.count, T(0));
    m_.assign(l.count, T(0)), v_.assign(l.count, T(0));
  }

  double gradient(document_set const& data, std::span<std::uint32_t const> batch) override {
    data.masked(batch, documents_);
    // A tile of documents has its own sums, and tiles are added in order: so the threads don't matter.
    constexpr std::size_t tile = 5;
    std::size_t const tiles = (documents_.size() + tile - 1) / tile;
    std::vector<weights<T>> sums(tiles);
    std::vector<double> losses(tiles);
    double const tokens = token_count();
    parallel_for(tiles, [&](std::size_t t) {
      flush_denormals const guard;
      sums[t].values.assign(layout_.count, T(0));
      plain_pass<T> pass(spec_, layout_, w_);
      for (std::size_t i = t * tile; i < std::min(documents_.size(), (t + 1) * tile); ++i) {
        losses[t] += pass.loss(documents_[i]);
        pass.backward(T(1) / static_cast<T>(tokens), sums[t]);
      }
    });
    std::fill(g_.values.begin(), g_.values.end(), T(0));
    for (auto const& s : sums)
      for (std::size_t i = 0; i < layout_.count; ++i) g_.values[i] += s.values[i];
    return std::accumulate(losses.begin(), losses.end(), 0.0) / tokens;
  }

  void step(std::size_t update, double learning_rate) override {
    flush_denormals const guard;
    double const t = static_cast<double>(update + 1);
    double const first = 1 - std::pow(spec_.beta1, t), root = std::sqrt(1 - std::pow(spec_.beta2, t));
    auto const b1 = static_cast<T>(spec_.beta1), b2 = static_cast<T>(spec_.beta2), eps = static_cast<T>(spec_.epsilon);
    for (auto const& p : layout_.parameters) {
      if (!p.trained) continue;
      for (std::size_t i = p.offset; i < p.offset + p.rows * p.cols; ++i) {
        T const g = g_.values[i] + static_cast<T>(2 * spec_.l2) * w_.values[i];
        if (spec_.optimizer == optimizer_kind::sgd) {
          w_.values[i] -= static_cast<T>(learning_rate) * g;
          continue;
        }
        m_[i] = b1 * m_[i] + (1 - b1) * g;
        v_[i] = b2 * v_[i] + (1 - b2) * g * g;
        w_.values[i] -= static_cast<T>(learning_rate / first) * m_[i] / (std::sqrt(v_[i]) / static_cast<T>(root) + eps);
      }
    }
  }

  double loss(document_set const& data, std::size_t batch) override {
    std::size_t const batches = (data.size() + batch - 1) / batch;
    std::vector<double> losses(batches);
    parallel_for(batches, [&](std::size_t b) {
      flush_denormals const guard;
      std::vector<masked_document> documents;
      data.masked(batch_of(b, batch, data.size()), documents);
      plain_pass<T> pass(spec_, layout_, w_);
      double tokens = 0;
      for (auto const& d : documents) {
        losses[b] += pass.loss(d);
        for (auto const m : d.masked) tokens += m;
      }
      losses[b] /= std::max(tokens, 1.0);
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(batches);
  }

  void store(weights<T>& out) const override { out = w_; }
  void store_gradient(weights<T>& out) const override { out = g_; }
  double norm(int slot) const override {
    if (slot < 0) return 0;
    auto const& p = layout_.parameters[static_cast<std::size_t>(slot)];
    double sum = 0;
    for (std::size_t i = 0; i < p.rows * p.cols; ++i) {
      auto const x = static_cast<double>(w_.at(p)[i]);
      sum += x * x;
    }
    return std::sqrt(sum);
  }

 private:
  double token_count() const {
    double n = 0;
    for (auto const& d : documents_)
      for (auto const m : d.masked) n += m;
    return std::max(n, 1.0);
  }

  spec spec_;
  layout layout_;
  weights<T> w_, g_;
  std::vector<T> m_, v_;
  std::vector<masked_document> documents_;
};

}  // namespace

template <class T>
std::unique_ptr<learner<T>> make_learner(spec const& s, layout const& l, weights<T> const& start, method_kind method) {
  if (method == method_kind::fast && !has_fast_path(s))
    throw usage_error(
        "topic_transformer: method: fast serves one layer and one head without positions or further BERT pieces; use auto");
  if (method != method_kind::plain && has_fast_path(s)) return std::make_unique<fast_learner<T>>(s, l, start);
  return std::make_unique<plain_learner<T>>(s, l, start);
}

template <class T>
std::size_t train(spec const& s, layout const& l, weights<T>& w, schedule const& plan, document_set const& data,
                  document_set const* held_out, observer<T> const& tell) {
  auto const learn = make_learner<T>(s, l, w, plan.method);
  auto const due = [&](std::size_t at, std::size_t every) { return every && ((at - 1) % every == 0 || at == s.updates); };
  auto const snapshot = [&](std::size_t at) {
    if (tell.snapshot && std::find(plan.snapshots.begin(), plan.snapshots.end(), at) != plan.snapshots.end()) {
      learn->store(w);
      tell.snapshot(at, w);
    }
  };
  std::vector<std::uint32_t> order(data.size());
  std::size_t const batches = (data.size() + s.batch - 1) / s.batch;
  auto const& first = l.layers.at(0);
  double sum = 0;
  std::size_t summed = 0;
  bool stopped = false;
  std::size_t done = 0;
  snapshot(0);
  while (done < s.updates && !stopped) {
    std::size_t const at = done % batches;
    if (at == 0) shuffled(plan.seed, done / batches, order);
    auto const batch = [&](std::size_t b) {
      std::size_t const from = std::min(b * s.batch, order.size());
      return std::span<std::uint32_t const>(order).subspan(from, std::min(s.batch, order.size() - from));
    };
    data.prefetch(batch(at + 1));
    double const rate = s.schedule == schedule_kind::constant
                            ? s.learning_rate
                            : s.learning_rate * (1 - static_cast<double>(done) / static_cast<double>(s.updates));
    stop_if_asked();
    sum += learn->gradient(data, batch(at));
    learn->step(done, rate);
    ++done, ++summed;
    if (tell.log && due(done, plan.log_every)) {
      tell.log(done, sum / static_cast<double>(summed), learn->norm(first.w_k), learn->norm(first.w_q), learn->norm(first.w_v));
      sum = 0, summed = 0;
    }
    if (tell.held_out && held_out && due(done, plan.held_out_every)) {
      double const loss = learn->loss(*held_out, s.batch);
      learn->store(w);
      stopped = tell.held_out(done, loss, w);
    }
    snapshot(done);
  }
  learn->store(w);
  return done;
}

template std::unique_ptr<learner<float>> make_learner(spec const&, layout const&, weights<float> const&, method_kind);
template std::unique_ptr<learner<double>> make_learner(spec const&, layout const&, weights<double> const&, method_kind);
template std::size_t train(spec const&, layout const&, weights<float>&, schedule const&, document_set const&, document_set const*,
                           observer<float> const&);
template std::size_t train(spec const&, layout const&, weights<double>&, schedule const&, document_set const&,
                           document_set const*, observer<double> const&);

}  // namespace wayfarer::topic_transformer
