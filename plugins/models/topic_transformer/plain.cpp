#include "plain.hpp"

#include <cmath>
#include <limits>

#include <wayfarer/error.hpp>

namespace wayfarer::topic_transformer {

namespace {

constexpr double norm_epsilon = 1e-12, root_half = 0.70710678118654752440, root_two_pi = 2.50662827463100050242;

// x Phi(x), as BERT has it.
template <class T>
T gelu(T x) {
  return x * T(0.5) * (T(1) + std::erf(x * static_cast<T>(root_half)));
}
template <class T>
T gelu_slope(T x) {
  return T(0.5) * (T(1) + std::erf(x * static_cast<T>(root_half))) + x * std::exp(-x * x / 2) / static_cast<T>(root_two_pi);
}

Eigen::Index index(std::size_t i) {
  return static_cast<Eigen::Index>(i);
}

}  // namespace

template <class T>
typename plain_pass<T>::const_map plain_pass<T>::get(int slot) const {
  auto const& p = layout_.parameters[static_cast<std::size_t>(slot)];
  return {w_.at(p), index(p.rows), index(p.cols)};
}

template <class T>
typename plain_pass<T>::map plain_pass<T>::gradient(int slot, weights<T>& into) const {
  auto const& p = layout_.parameters[static_cast<std::size_t>(slot)];
  return {into.at(p), index(p.rows), index(p.cols)};
}

// y = x W' + b, with W [out, in]; no W: the identity.
template <class T>
matrix<T> plain_pass<T>::linear(matrix<T> const& x, int weight, int bias) const {
  if (weight < 0) return x;
  matrix<T> y = x * get(weight).transpose();
  if (bias >= 0) y.rowwise() += get(bias).row(0);
  return y;
}

template <class T>
matrix<T> plain_pass<T>::linear_back(matrix<T> const& x, matrix<T> const& dy, int weight, int bias, weights<T>& into) const {
  if (weight < 0) return dy;
  if (trained(weight)) gradient(weight, into).noalias() += dy.transpose() * x;
  if (trained(bias)) gradient(bias, into).row(0) += dy.colwise().sum();
  return dy * get(weight);
}

template <class T>
matrix<T> plain_pass<T>::norm(matrix<T> const& x, int weight, int bias, norm_state& keep) const {
  auto const d = static_cast<T>(x.cols());
  keep.x_hat = x.colwise() - x.rowwise().mean();
  keep.r = ((keep.x_hat.rowwise().squaredNorm() / d).array() + static_cast<T>(norm_epsilon)).rsqrt();
  keep.x_hat = keep.r.asDiagonal() * keep.x_hat;
  matrix<T> y = keep.x_hat * get(weight).row(0).asDiagonal();
  y.rowwise() += get(bias).row(0);
  return y;
}

template <class T>
matrix<T> plain_pass<T>::norm_back(matrix<T> const& dy, int weight, int bias, norm_state const& kept, weights<T>& into) const {
  gradient(weight, into).row(0) += dy.cwiseProduct(kept.x_hat).colwise().sum();
  gradient(bias, into).row(0) += dy.colwise().sum();
  matrix<T> g = dy * get(weight).row(0).asDiagonal();
  Eigen::Matrix<T, Eigen::Dynamic, 1> const mean = g.rowwise().mean();
  Eigen::Matrix<T, Eigen::Dynamic, 1> const along = g.cwiseProduct(kept.x_hat).rowwise().mean();
  g.colwise() -= mean;
  g -= along.asDiagonal() * kept.x_hat;
  return kept.r.asDiagonal() * g;
}

template <class T>
void plain_pass<T>::forward(std::span<std::uint16_t const> shown, std::span<std::uint8_t const> visible, at_place const& at,
                            reach until, matrix<T> const* start) {
  std::size_t const n = shown.size(), d = spec_.d(), heads = spec_.heads, dh = spec_.d_head();
  auto const here = [&](place p, std::size_t layer, matrix<T>& x) {
    if (at) at(p, layer, x);
  };
  if (spec_.positions != position_kind::none && n > spec_.max_positions)
    throw data_error("a document of " + std::to_string(n) + " tokens is longer than max_positions (" +
                     std::to_string(spec_.max_positions) + ")");
  shown_.assign(shown.begin(), shown.end());
  visible_.assign(visible.begin(), visible.end());

  // x: [pos, d_model]
  matrix<T> x;
  if (start)
    x = *start;
  else {
    x = matrix<T>::Zero(index(n), index(d));
    for (std::size_t i = 0; i < n; ++i) {
      if (layout_.embed >= 0)
        x.row(index(i)) = get(layout_.embed).row(shown[i]);
      else
        x(index(i), shown[i]) = 1;
    }
  }
  here(place::embed, 0, x);
  if (layout_.position >= 0) {
    matrix<T> p = get(layout_.position).topRows(index(n));
    here(place::pos_embed, 0, p);
    x += p;
  }
  if (until <= reach{0, place::pos_embed}) return;
  if (spec_.embedding_norm) {
    x.rowwise() += get(layout_.token_type).row(0);
    x = norm(x, layout_.norm_w, layout_.norm_b, embed_norm_);
  }

  T const scale = 1 / std::sqrt(static_cast<T>(dh));
  layers_.resize(spec_.layers);
  for (std::size_t l = 0; l < spec_.layers; ++l) {
    layer_slots const& w = layout_.layers[l];
    layer_state& s = layers_[l];
    here(place::resid_pre, l, x);
    s.in = x;
    bool const uniform = spec_.attention == attention_kind::uniform;
    if (!uniform) {
      s.q = linear(x, w.w_q, w.b_q), s.k = linear(x, w.w_k, w.b_k);
    } else if (at) {
      s.q = matrix<T>::Zero(index(n), index(d)), s.k = s.q;
    }
    if (at) here(place::q, l, s.q), here(place::k, l, s.k);
    if (until <= reach{l, place::k}) return;

    // pattern: [head, query, key], heads one below the other
    matrix<T>& a = s.pattern;
    a.resize(index(heads * n), index(n));
    for (std::size_t h = 0; h < heads; ++h) {
      auto block = a.middleRows(index(h * n), index(n));
      if (uniform && !at)
        block.setZero();
      else
        block.noalias() = s.q.middleCols(index(h * dh), index(dh)) * s.k.middleCols(index(h * dh), index(dh)).transpose() * scale;
    }
    auto const hide = [&](T hidden) {
      for (std::size_t j = 0; j < n; ++j)
        if (!visible[j]) a.col(index(j)).setConstant(hidden);
    };
    hide(-std::numeric_limits<T>::infinity());
    here(place::attn_scores, l, a);
    if (at) hide(-std::numeric_limits<T>::infinity());  // the mask is no part of what an edit may write
    for (Eigen::Index i = 0; i < a.rows(); ++i) {
      T const most = a.row(i).maxCoeff();
      a.row(i) = (a.row(i).array() - most).exp();
      a.row(i) /= a.row(i).sum();
    }
    here(place::pattern, l, a);
    if (at) hide(0);
    if (until <= reach{l, place::pattern}) return;
    s.v = linear(s.in, w.w_v, w.b_v);
    here(place::v, l, s.v);
    s.z.resize(index(n), index(d));
    for (std::size_t h = 0; h < heads; ++h)
      s.z.middleCols(index(h * dh), index(dh)).noalias() =
          a.middleRows(index(h * n), index(n)) * s.v.middleCols(index(h * dh), index(dh));
    here(place::z, l, s.z);
    x = linear(s.z, w.w_o, w.b_o);
    here(place::attn_out, l, x);
    if (spec_.residual) x += s.in;
    if (spec_.layer_norm) x = norm(x, w.norm1_w, w.norm1_b, s.norm1);

    if (spec_.intermediate || spec_.output) {
      here(place::resid_mid, l, x);
      s.mid = x;
      if (spec_.intermediate) {
        s.mlp_pre = linear(x, w.w_in, w.b_in);
        here(place::mlp_pre, l, s.mlp_pre);
        s.mlp_post = s.mlp_pre.unaryExpr(&gelu<T>);
        here(place::mlp_post, l, s.mlp_post);
      } else {
        s.mlp_post = x;
      }
      x = s.mlp_post;
      if (spec_.output) {
        x = linear(s.mlp_post, w.w_out, w.b_out);
        here(place::mlp_out, l, x);
        if (spec_.residual) x += s.mid;
        if (spec_.layer_norm) x = norm(x, w.norm2_w, w.norm2_b, s.norm2);
      }
    }
    here(place::resid_post, l, x);
    if (until <= reach{l, place::resid_post} && l + 1 < spec_.layers) return;
  }
  out_ = x;
  if (until.last != place::logits) return;
  matrix<T> logits = head(out_);
  here(place::logits, spec_.layers - 1, logits);
}

// Logits of some positions: x [m, d_model] -> [m, vocabulary].
template <class T>
matrix<T> plain_pass<T>::head(matrix<T> const& x) {
  head_in_ = x;
  head_out_ = x;
  if (spec_.head_transform) {
    head_pre_ = linear(x, layout_.head_w, layout_.head_b);
    head_out_ = norm(head_pre_.unaryExpr(&gelu<T>), layout_.head_norm_w, layout_.head_norm_b, head_norm_);
  }
  matrix<T> y = linear(head_out_, spec_.decoder == decoder_kind::tied ? layout_.embed : layout_.decoder_w, -1);
  if (layout_.decoder_b >= 0) y.rowwise() += get(layout_.decoder_b).row(0);
  return y;
}

template <class T>
double plain_pass<T>::loss(masked_document const& doc) {
  forward(doc.shown, doc.visible, {}, {spec_.layers - 1, place::resid_post});
  masked_.clear();
  for (std::size_t i = 0; i < doc.masked.size(); ++i)
    if (doc.masked[i]) masked_.push_back(static_cast<int>(i));
  matrix<T> x(index(masked_.size()), out_.cols());
  for (std::size_t i = 0; i < masked_.size(); ++i) x.row(index(i)) = out_.row(masked_[i]);
  matrix<T> const f = head(x);  // [masked, vocabulary]
  d_logits_.resize(f.rows(), f.cols());
  double loss = 0;
  for (Eigen::Index i = 0; i < f.rows(); ++i) {
    auto const target = static_cast<Eigen::Index>(doc.truth[static_cast<std::size_t>(masked_[static_cast<std::size_t>(i)])]);
    if (spec_.loss == loss_kind::squared) {
      d_logits_.row(i) = f.row(i);
      d_logits_(i, target) -= 1;
      loss += static_cast<double>(d_logits_.row(i).squaredNorm());
      d_logits_.row(i) *= 2;
    } else {
      T const most = f.row(i).maxCoeff();
      d_logits_.row(i) = (f.row(i).array() - most).exp();
      T const sum = d_logits_.row(i).sum();
      loss += static_cast<double>(most + std::log(sum) - f(i, target));
      d_logits_.row(i) /= sum;
      d_logits_(i, target) -= 1;
    }
  }
  return loss;
}

template <class T>
void plain_pass<T>::backward(T scale, weights<T>& into) {
  std::size_t const n = shown_.size(), d = spec_.d(), heads = spec_.heads, dh = spec_.d_head();
  if (masked_.empty()) return;
  matrix<T> const df = d_logits_ * scale;
  if (layout_.decoder_b >= 0) gradient(layout_.decoder_b, into).row(0) += df.colwise().sum();
  matrix<T> dm = linear_back(head_out_, df, spec_.decoder == decoder_kind::tied ? layout_.embed : layout_.decoder_w, -1, into);
  if (spec_.head_transform) {
    dm = norm_back(dm, layout_.head_norm_w, layout_.head_norm_b, head_norm_, into);
    dm = linear_back(head_in_, dm.cwiseProduct(head_pre_.unaryExpr(&gelu_slope<T>)), layout_.head_w, layout_.head_b, into);
  }
  matrix<T> dx = matrix<T>::Zero(index(n), index(d));
  for (std::size_t i = 0; i < masked_.size(); ++i) dx.row(masked_[i]) = dm.row(index(i));

  T const qk_scale = 1 / std::sqrt(static_cast<T>(dh));
  for (std::size_t l = spec_.layers; l-- > 0;) {
    layer_slots const& w = layout_.layers[l];
    layer_state& s = layers_[l];
    if (spec_.intermediate || spec_.output) {
      matrix<T> d_mid = matrix<T>::Zero(index(n), index(d));
      if (spec_.output) {
        if (spec_.layer_norm) dx = norm_back(dx, w.norm2_w, w.norm2_b, s.norm2, into);
        if (spec_.residual) d_mid = dx;
        dx = linear_back(s.mlp_post, dx, w.w_out, w.b_out, into);
      }
      if (spec_.intermediate) dx = linear_back(s.mid, dx.cwiseProduct(s.mlp_pre.unaryExpr(&gelu_slope<T>)), w.w_in, w.b_in, into);
      dx += d_mid;
    }
    if (spec_.layer_norm) dx = norm_back(dx, w.norm1_w, w.norm1_b, s.norm1, into);
    matrix<T> d_in = matrix<T>::Zero(index(n), index(d));
    if (spec_.residual) d_in = dx;
    matrix<T> const dz = linear_back(s.z, dx, w.w_o, w.b_o, into);

    matrix<T> dv(index(n), index(d)), dq, dk;
    bool const uniform = spec_.attention == attention_kind::uniform;
    if (!uniform) dq.resize(index(n), index(d)), dk.resize(index(n), index(d));
    for (std::size_t h = 0; h < heads; ++h) {
      auto const a = s.pattern.middleRows(index(h * n), index(n));
      auto const dzh = dz.middleCols(index(h * dh), index(dh));
      dv.middleCols(index(h * dh), index(dh)).noalias() = a.transpose() * dzh;
      if (uniform) continue;
      matrix<T> da = dzh * s.v.middleCols(index(h * dh), index(dh)).transpose();
      Eigen::Matrix<T, Eigen::Dynamic, 1> const mean = da.cwiseProduct(a).rowwise().sum();
      da.colwise() -= mean;
      matrix<T> const ds = da.cwiseProduct(a) * qk_scale;  // keys that can't be seen have weight 0
      dq.middleCols(index(h * dh), index(dh)).noalias() = ds * s.k.middleCols(index(h * dh), index(dh));
      dk.middleCols(index(h * dh), index(dh)).noalias() = ds.transpose() * s.q.middleCols(index(h * dh), index(dh));
    }
    d_in += linear_back(s.in, dv, w.w_v, w.b_v, into);
    if (!uniform) {
      d_in += linear_back(s.in, dq, w.w_q, w.b_q, into);
      d_in += linear_back(s.in, dk, w.w_k, w.b_k, into);
    }
    dx = std::move(d_in);
  }

  if (spec_.embedding_norm) {
    dx = norm_back(dx, layout_.norm_w, layout_.norm_b, embed_norm_, into);
    gradient(layout_.token_type, into).row(0) += dx.colwise().sum();
  }
  if (trained(layout_.position)) gradient(layout_.position, into).topRows(index(n)) += dx;
  if (layout_.embed >= 0) {
    auto g = gradient(layout_.embed, into);
    for (std::size_t i = 0; i < n; ++i) g.row(shown_[i]) += dx.row(index(i));
  }
}

template class plain_pass<float>;
template class plain_pass<double>;

}  // namespace wayfarer::topic_transformer
