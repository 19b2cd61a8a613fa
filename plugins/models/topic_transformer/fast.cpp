#include "fast.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include <wayfarer/error.hpp>

namespace wayfarer::topic_transformer {

template <class T>
void aligned_array<T>::resize(std::size_t n) {
  if (n == size_) return;
  data_.reset(static_cast<T*>(::operator new[](n * sizeof(T), std::align_val_t{64})));
  std::memset(data_.get(), 0, n * sizeof(T));
  size_ = n;
}

template <class T>
void aligned_array<T>::release::operator()(T* p) const noexcept {
  ::operator delete[](p, std::align_val_t{64});
}

namespace {

constexpr double norm_epsilon = 1e-12;

// to [cols, ld_to] = from [rows, ld_from] transposed, in blocks that stay in the first cache.
template <class T>
void turn(T* to, std::size_t ld_to, T const* from, std::size_t ld_from, std::size_t rows, std::size_t cols) {
  constexpr std::size_t block = 16;
  for (std::size_t i0 = 0; i0 < rows; i0 += block)
    for (std::size_t j0 = 0; j0 < cols; j0 += block)
      for (std::size_t j = j0; j < std::min(j0 + block, cols); ++j)
        for (std::size_t i = i0; i < std::min(i0 + block, rows); ++i) to[j * ld_to + i] = from[i * ld_from + j];
}

}  // namespace

template <class T>
fast_model<T>::fast_model(spec const& s, layout const& l, weights<T> const& start, kernel_table<T> const& kernel)
    : spec_(s),
      layout_(l),
      kernel_(kernel),
      vocabulary_(s.vocabulary()),
      d_(s.d()),
      ld_(padded(d_)),
      ld_v_(padded(vocabulary_)),
      one_hot_(s.embedding == embedding_kind::one_hot),
      norm_(s.embedding_norm) {
  if (!has_fast_path(s)) throw plugin_error("topic_transformer: this model has no table path");
  auto const& here = layout_.layers.at(0);
  segments_.resize(layout_.parameters.size());
  std::size_t count = 0;
  for (bool const trained : {true, false}) {
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      auto const& p = layout_.parameters[i];
      if (p.trained != trained) continue;
      auto const slot = static_cast<int>(i);
      bool const turned = slot == here.w_q || slot == here.w_k || slot == here.w_v;
      segment& g = segments_[i];
      g = {count, turned ? p.cols : p.rows, turned ? p.rows : p.cols, 0, turned, true, trained};
      g.ld = padded(g.cols);
      count += g.rows * g.ld;
    }
    if (trained) trained_count_ = count;
  }
  w_.resize(count), g_.resize(count), m_.resize(trained_count_), v_.resize(trained_count_);
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    auto const& p = layout_.parameters[i];
    auto const& g = segments_[i];
    for (std::size_t r = 0; r < p.rows; ++r)
      for (std::size_t c = 0; c < p.cols; ++c)
        w_[g.offset + (g.turned ? c * g.ld + r : r * g.ld + c)] = start.at(p)[r * p.cols + c];
  }
  auto const find = [&](int slot) { return slot < 0 ? segment{} : segments_[static_cast<std::size_t>(slot)]; };
  embed_ = find(layout_.embed), token_type_ = find(layout_.token_type), norm_w_ = find(layout_.norm_w),
  norm_b_ = find(layout_.norm_b);
  decoder_ = s.decoder == decoder_kind::tied ? embed_ : find(layout_.decoder_w);
  decoder_bias_ = find(layout_.decoder_b);
  q_.weight = find(here.w_q), q_.bias = find(here.b_q), k_.weight = find(here.w_k), k_.bias = find(here.b_k);
  value_.weight = find(here.w_v), value_.bias = find(here.b_v);

  dense_hidden_ = !one_hot_ || !value_.weight.present;
  if (dense_hidden_) h_.resize(vocabulary_ * ld_), d_h_.resize(vocabulary_ * ld_);
  if (norm_) {
    r_.resize(std::max(ld_, ld_v_)), centred_.resize(ld_), u_.resize(2 * ld_);
    d_u_.resize(ld_), d_r_.resize(std::max(ld_, ld_v_)), dots_.resize(4 * ld_v_);
    if (dense_hidden_) x_hat_.resize(vocabulary_ * ld_);
  }
  sums_.resize(2 * ld_);
  value_turned_.resize(d_ * ld_);
  for (projection* const p : {&q_, &k_, &value_}) {
    if (!p->weight.present) continue;
    bool const own = !one_hot_ || norm_ || p->bias.present;
    if (own) p->own.resize(vocabulary_ * ld_);
    if (norm_ && one_hot_) p->a.resize(2 * ld_);
    // Without LayerNorm the table of a one-hot embedding has the weights' own gradient.
    if (!one_hot_ || norm_) p->d_table.resize(vocabulary_ * ld_);
  }
  bias_.resize(ld_v_);
  if (decoder_.present) {
    decoder_turned_.resize(d_ * ld_v_), logits_.resize(vocabulary_ * ld_v_), d_logits_.resize(vocabulary_ * ld_v_);
    if (!value_.weight.present) value_.d_table.resize(vocabulary_ * ld_);
  } else if (!value_.weight.present) {
    value_.d_table.resize(vocabulary_ * ld_);
  }
  if (decoder_.present && value_.weight.present && one_hot_ && !norm_) value_.d_table.resize(vocabulary_ * ld_);
  if (q_.weight.present) {
    k_turned_.resize(d_ * ld_v_);
    q_used_.resize(vocabulary_ * ld_), d_q_used_.resize(vocabulary_ * ld_);
    scores_.resize(vocabulary_ * ld_v_), d_scores_.resize(vocabulary_ * ld_v_);
    query_row_.resize(vocabulary_);
  }
}

template <class T>
void fast_model<T>::store_from(aligned_array<T> const& from, weights<T>& out) const {
  out.values.resize(layout_.count);
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    auto const& p = layout_.parameters[i];
    auto const& g = segments_[i];
    for (std::size_t r = 0; r < p.rows; ++r)
      for (std::size_t c = 0; c < p.cols; ++c)
        out.at(p)[r * p.cols + c] = from[g.offset + (g.turned ? c * g.ld + r : r * g.ld + c)];
  }
}

template <class T>
void fast_model<T>::store(weights<T>& out) const {
  store_from(w_, out);
}

template <class T>
void fast_model<T>::store_gradient(weights<T>& out) const {
  store_from(g_, out);
  for (auto const& p : layout_.parameters)
    if (!p.trained) std::fill_n(out.at(p), p.rows * p.cols, T(0));
}

template <class T>
double fast_model<T>::norm(int slot) const noexcept {
  if (slot < 0) return 0;
  auto const& g = segments_[static_cast<std::size_t>(slot)];
  double sum = 0;
  for (std::size_t i = 0; i < g.rows * g.ld; ++i) {
    auto const x = static_cast<double>(w_[g.offset + i]);
    sum += x * x;
  }
  return std::sqrt(sum);
}

// Hidden rows. One-hot after LayerNorm: with tt the token type, c = tt - mean(tt), row i is
//   gamma (c - 1/d + e_i) r_i + beta,  1 / r_i^2 = (|c|^2 + 2 c_i + 1 - 1/d) / d + epsilon.
template <class T>
void fast_model<T>::hidden() {
  if (!norm_) {
    if (!dense_hidden_) return;
    if (one_hot_)
      for (std::size_t i = 0; i < vocabulary_; ++i) h_[i * ld_ + i] = 1;
    else
      std::memcpy(h_.data(), at(embed_), vocabulary_ * ld_ * sizeof(T));
    return;
  }
  T const* const tt = at(token_type_);
  T const* const gamma = at(norm_w_);
  T const* const beta = at(norm_b_);
  T const inverse = T(1) / static_cast<T>(d_);
  if (one_hot_) {
    double mean = 0, square = 0;
    for (std::size_t k = 0; k < d_; ++k) mean += static_cast<double>(tt[k]);
    mean /= static_cast<double>(d_);
    for (std::size_t k = 0; k < d_; ++k) {
      double const c = static_cast<double>(tt[k]) - mean;
      centred_[k] = static_cast<T>(c);
      square += c * c;
      u_[k] = gamma[k] * (centred_[k] - inverse);
      u_[ld_ + k] = beta[k];
    }
    double const base = square + 1 - 1 / static_cast<double>(d_);
    for (std::size_t i = 0; i < vocabulary_; ++i)
      r_[i] =
          static_cast<T>(1 / std::sqrt((base + 2 * static_cast<double>(centred_[i])) / static_cast<double>(d_) + norm_epsilon));
  }
  if (!dense_hidden_) return;
  for (std::size_t i = 0; i < vocabulary_; ++i) {
    T* const x = x_hat_.data() + i * ld_;
    double mean = 0, variance = 0;
    for (std::size_t k = 0; k < d_; ++k) {
      x[k] = tt[k] + (one_hot_ ? (k == i ? T(1) : T(0)) : at(embed_)[i * ld_ + k]);
      mean += static_cast<double>(x[k]);
    }
    mean /= static_cast<double>(d_);
    for (std::size_t k = 0; k < d_; ++k) {
      double const c = static_cast<double>(x[k]) - mean;
      x[k] = static_cast<T>(c);
      variance += c * c;
    }
    r_[i] = static_cast<T>(1 / std::sqrt(variance / static_cast<double>(d_) + norm_epsilon));
    for (std::size_t k = 0; k < d_; ++k) {
      x[k] *= r_[i];
      h_[i * ld_ + k] = x[k] * gamma[k] + beta[k];
    }
  }
}

template <class T>
void fast_model<T>::project(projection& p) {
  if (!p.weight.present) {
    p.table = h_.data();
    return;
  }
  T const* const w = at(p.weight);
  T const* const bias = p.bias.present ? at(p.bias) : nullptr;
  if (one_hot_ && !norm_ && !bias) {
    p.table = w;
    return;
  }
  p.table = p.own.data();
  if (one_hot_ && norm_) {
    kernel_.product(p.a.data(), ld_, u_.data(), ld_, 1, w, ld_, 2, ld_, d_, false);
    if (bias)
      for (std::size_t c = 0; c < ld_; ++c) p.a[ld_ + c] += bias[c];
    kernel_.one_hot_project(p.own.data(), w, r_.data(), at(norm_w_), p.a.data(), p.a.data() + ld_, vocabulary_, ld_);
    return;
  }
  if (one_hot_)
    std::memcpy(p.own.data(), w, vocabulary_ * ld_ * sizeof(T));
  else
    kernel_.product(p.own.data(), ld_, h_.data(), ld_, 1, w, ld_, vocabulary_, ld_, d_, false);
  if (bias)
    for (std::size_t i = 0; i < vocabulary_; ++i)
      for (std::size_t c = 0; c < ld_; ++c) p.own[i * ld_ + c] += bias[c];
}

// Logits that attending to one id alone gives: [vocabulary, ld_v].
template <class T>
void fast_model<T>::tables() {
  hidden();
  project(value_);
  if (q_.weight.present) {
    project(q_), project(k_);
    turn(k_turned_.data(), ld_v_, k_.table, ld_, vocabulary_, d_);
  }
  logits_table_ = value_.table;
  if (decoder_.present) {
    turn(decoder_turned_.data(), ld_v_, at(decoder_), ld_, vocabulary_, d_);
    kernel_.product(logits_.data(), ld_v_, value_.table, ld_, 1, decoder_turned_.data(), ld_v_, vocabulary_, ld_v_, d_, false);
    logits_table_ = logits_.data();
  }
  if (decoder_bias_.present) std::memcpy(bias_.data(), at(decoder_bias_), ld_v_ * sizeof(T));
  if (spec_.loss == loss_kind::cross_entropy)
    for (std::size_t c = vocabulary_; c < ld_v_; ++c) bias_[c] = T(-1e30);
}

template <class T>
batch_job<T> fast_model<T>::job(std::vector<std::uint16_t const*> const& documents, work_space& room) const {
  std::size_t keys = 0, rows = 0, entries = 0, masked = 0;
  for (auto const* const doc : documents) {
    keys = std::max<std::size_t>(keys, doc[0]);
    rows = std::max<std::size_t>(rows, doc[1]);
    entries += doc[0];
    masked += doc[2];
  }
  std::size_t const scratch = scratch_count(!q_.weight.present, documents.size(), keys, rows, entries, ld_v_);
  if (room.scratch.size() < scratch) room.scratch.resize(scratch + scratch / 4);
  if (std::size_t const index = index_count(vocabulary_, entries); room.index.size() < index)
    room.index.resize(index + index / 4);
  batch_job<T> j;
  j.documents = documents.data();
  j.size = documents.size();
  j.vocabulary = vocabulary_;
  j.ld = ld_v_;
  j.squared = spec_.loss == loss_kind::squared;
  j.logits = logits_table_;
  j.bias = bias_.data();
  j.tokens = static_cast<T>(std::max<std::size_t>(masked, 1));
  j.scratch = room.scratch.data();
  j.index = room.index.data();
  j.most_entries = entries;
  return j;
}

template <class T>
double fast_model<T>::gradient(std::vector<std::uint16_t const*> const& documents) {
  tables();
  // What is added to; the gradients of Q, K and V are written whole.
  for (segment const* const g :
       {&embed_, &token_type_, &norm_w_, &norm_b_, &decoder_, &decoder_bias_, &q_.bias, &k_.bias, &value_.bias})
    if (g->present) std::memset(gradient_at(*g), 0, g->rows * g->ld * sizeof(T));
  if (dense_hidden_) std::memset(d_h_.data(), 0, d_h_.size() * sizeof(T));
  if (norm_) {
    std::memset(d_u_.data(), 0, d_u_.size() * sizeof(T));
    std::memset(d_r_.data(), 0, d_r_.size() * sizeof(T));
  }
  batch_job<T> j = job(documents, work_);
  T* const d_value = value_.d_table.size() ? value_.d_table.data() : gradient_at(value_.weight);
  j.d_logits = decoder_.present ? d_logits_.data() : d_value;
  if (q_.weight.present) std::memset(j.d_logits, 0, vocabulary_ * ld_v_ * sizeof(T));  // uniform attention writes all of it
  if (decoder_bias_.present) j.d_bias = gradient_at(decoder_bias_);
  T const scale = static_cast<T>(1 / std::sqrt(static_cast<double>(spec_.d_head())));
  std::size_t used = 0;
  if (q_.weight.present) {
    // Only queries that are masked somewhere in the batch matter: few but [MASK] itself.
    std::fill(query_row_.begin(), query_row_.end(), std::uint16_t{0xffff});
    used_.clear();
    for (auto const* const doc : documents) {
      std::uint16_t const* const rows = doc + count_header + 2 * std::size_t{doc[0]};
      for (std::size_t r = 0; r < doc[1]; ++r) {
        std::uint16_t const id = rows[3 * r];
        if (query_row_[id] != 0xffff) continue;
        query_row_[id] = static_cast<std::uint16_t>(used_.size());
        used_.push_back(id);
      }
    }
    used = used_.size();
    for (std::size_t i = 0; i < used; ++i) {
      T const* const from = q_.table + used_[i] * ld_;
      for (std::size_t c = 0; c < ld_; ++c) q_used_[i * ld_ + c] = from[c] * scale;
    }
    kernel_.product(scores_.data(), ld_v_, q_used_.data(), ld_, 1, k_turned_.data(), ld_v_, used, ld_v_, d_, false);
    std::memset(d_scores_.data(), 0, used * ld_v_ * sizeof(T));
    j.scores = scores_.data();
    j.query_row = query_row_.data();
    j.d_scores = d_scores_.data();
    j.scale = 1;  // it is in q_used_
  }
  double const loss = kernel_.batch(j) / static_cast<double>(j.tokens);

  if (decoder_.present) {
    kernel_.product(d_value, ld_, d_logits_.data(), ld_v_, 1, at(decoder_), ld_, vocabulary_, ld_, vocabulary_, false);
    kernel_.product(gradient_at(decoder_), ld_, d_logits_.data(), 1, ld_v_, value_.table, ld_, vocabulary_, ld_, vocabulary_,
                    true);
  }
  project_back(value_, d_value);
  if (q_.weight.present) {
    kernel_.product(d_q_used_.data(), ld_, d_scores_.data(), ld_v_, 1, k_.table, ld_, used, ld_, vocabulary_, false);
    T* const d_k = k_.d_table.size() ? k_.d_table.data() : gradient_at(k_.weight);
    kernel_.product(d_k, ld_, d_scores_.data(), 1, ld_v_, q_used_.data(), ld_, vocabulary_, ld_, used, false);
    T* const d_q = q_.d_table.size() ? q_.d_table.data() : gradient_at(q_.weight);
    std::memset(d_q, 0, vocabulary_ * ld_ * sizeof(T));
    for (std::size_t i = 0; i < used; ++i)
      for (std::size_t c = 0; c < ld_; ++c) d_q[used_[i] * ld_ + c] = d_q_used_[i * ld_ + c] * scale;
    project_back(q_, d_q);
    project_back(k_, d_k);
  }
  hidden_back();
  return loss;
}

template <class T>
void fast_model<T>::project_back(projection& p, T const* d_table) {
  if (!p.weight.present) {
    for (std::size_t i = 0; i < vocabulary_ * ld_; ++i) d_h_[i] += d_table[i];
    return;
  }
  T const* const w = at(p.weight);
  T* const d_w = gradient_at(p.weight);
  if (one_hot_ && norm_) {
    T* const s0 = sums_.data();
    T* const s1 = sums_.data() + ld_;
    T const* const gamma = at(norm_w_);
    kernel_.column_sums(s0, s1, d_table, r_.data(), vocabulary_, ld_);
    kernel_.one_hot_backward(d_w, dots_.data(), d_table, w, r_.data(), gamma, u_.data(), u_.data() + ld_, p.a.data(), s0, s1,
                             vocabulary_, ld_);
    T* const d_gamma = gradient_at(norm_w_);
    T* const d_beta = gradient_at(norm_b_);
    for (std::size_t k = 0; k < vocabulary_; ++k) {
      T const* const x = dots_.data() + 4 * k;
      d_r_[k] += x[0] + gamma[k] * x[1];
      d_gamma[k] += r_[k] * x[1];
      d_u_[k] += x[2];
      d_beta[k] += x[3];
    }
    if (p.bias.present)
      for (std::size_t c = 0; c < ld_; ++c) gradient_at(p.bias)[c] = s0[c];
    return;
  }
  if (p.bias.present) {
    T* const d_b = gradient_at(p.bias);
    for (std::size_t i = 0; i < vocabulary_; ++i)
      for (std::size_t c = 0; c < ld_; ++c) d_b[c] += d_table[i * ld_ + c];
  }
  if (one_hot_) {
    if (d_table != d_w) std::memcpy(d_w, d_table, vocabulary_ * ld_ * sizeof(T));
    return;
  }
  kernel_.product(d_w, ld_, h_.data(), 1, ld_, d_table, ld_, d_, ld_, vocabulary_, false);
  turn(value_turned_.data(), ld_, w, ld_, d_, d_);
  kernel_.product(d_h_.data(), ld_, d_table, ld_, 1, value_turned_.data(), ld_, vocabulary_, ld_, d_, true);
}

template <class T>
void fast_model<T>::hidden_back() {
  if (!norm_) {
    if (embed_.present) {
      T* const d_e = gradient_at(embed_);
      for (std::size_t i = 0; i < vocabulary_ * ld_; ++i) d_e[i] += d_h_[i];
    }
    return;
  }
  T const* const gamma = at(norm_w_);
  T* const d_gamma = gradient_at(norm_w_);
  T* const d_beta = gradient_at(norm_b_);
  T* const d_tt = gradient_at(token_type_);
  auto const d = static_cast<T>(d_);
  if (one_hot_) {
    T sum_variance = 0, mean = 0;
    for (std::size_t i = 0; i < vocabulary_; ++i) {
      d_r_[i] *= T(-0.5) * r_[i] * r_[i] * r_[i];  // now the gradient of the variance
      sum_variance += d_r_[i];
    }
    for (std::size_t k = 0; k < d_; ++k) {
      d_gamma[k] += d_u_[k] * (centred_[k] - 1 / d);
      d_tt[k] = d_u_[k] * gamma[k] + 2 / d * (centred_[k] * sum_variance + d_r_[k]);
      mean += d_tt[k];
    }
    mean /= d;
    for (std::size_t k = 0; k < d_; ++k) d_tt[k] -= mean;
  }
  if (!dense_hidden_) return;
  for (std::size_t i = 0; i < vocabulary_; ++i) {
    T const* const dh = d_h_.data() + i * ld_;
    T const* const x = x_hat_.data() + i * ld_;
    T mean = 0, along = 0;
    for (std::size_t k = 0; k < d_; ++k) {
      T const g = dh[k] * gamma[k];
      mean += g;
      along += g * x[k];
      d_gamma[k] += dh[k] * x[k];
      d_beta[k] += dh[k];
    }
    mean /= d, along /= d;
    for (std::size_t k = 0; k < d_; ++k) {
      T const dx = r_[i] * (dh[k] * gamma[k] - mean - x[k] * along);
      d_tt[k] += dx;
      if (embed_.present) gradient_at(embed_)[i * ld_ + k] += dx;
    }
  }
}

template <class T>
void fast_model<T>::step(std::size_t update, double learning_rate) {
  auto const l2_twice = static_cast<T>(2 * spec_.l2);
  if (spec_.optimizer == optimizer_kind::sgd) {
    kernel_.sgd(w_.data(), g_.data(), trained_count_, static_cast<T>(learning_rate), l2_twice);
    return;
  }
  auto const t = static_cast<double>(update + 1);
  double const first = 1 - std::pow(spec_.beta1, t), second = 1 - std::pow(spec_.beta2, t);
  kernel_.adam(w_.data(), g_.data(), m_.data(), v_.data(), trained_count_, static_cast<T>(learning_rate / first),
               static_cast<T>(spec_.beta1), static_cast<T>(spec_.beta2), static_cast<T>(1 / std::sqrt(second)),
               static_cast<T>(spec_.epsilon), l2_twice);
}

template <class T>
void fast_model<T>::prepare() {
  tables();
  if (!q_.weight.present) return;
  T const scale = static_cast<T>(1 / std::sqrt(static_cast<double>(spec_.d_head())));
  for (std::size_t i = 0; i < vocabulary_; ++i) query_row_[i] = static_cast<std::uint16_t>(i);
  for (std::size_t i = 0; i < vocabulary_ * ld_; ++i) q_used_[i] = q_.table[i] * scale;
  kernel_.product(scores_.data(), ld_v_, q_used_.data(), ld_, 1, k_turned_.data(), ld_v_, vocabulary_, ld_v_, d_, false);
}

template <class T>
double fast_model<T>::loss(std::vector<std::uint16_t const*> const& documents, work_space& room) const {
  batch_job<T> j = job(documents, room);
  if (q_.weight.present) {
    j.scores = scores_.data();
    j.query_row = query_row_.data();
  }
  return kernel_.batch(j) / static_cast<double>(j.tokens);
}

template class aligned_array<float>;
template class aligned_array<double>;
template class fast_model<float>;
template class fast_model<double>;

}  // namespace wayfarer::topic_transformer
