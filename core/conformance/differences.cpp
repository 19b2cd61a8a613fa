#include "conformance/differences.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <wayfarer/digest.hpp>

namespace wayfarer::host::conformance {
namespace {

constexpr double far_apart = std::numeric_limits<double>::infinity();

class hasher {
 public:
  hasher& text(std::string_view s) {
    number(s.size());
    all_.update(s);
    return *this;
  }
  hasher& number(std::size_t n) {
    all_.update(std::as_bytes(std::span(&n, 1)));
    return *this;
  }
  hasher& values(tensor const& t) {
    if (!t.defined()) return text("undefined");
    text(name_of(t.type()));
    for (auto const& d : t.shape()) text(d.name).number(d.size);
    tensor const whole = t.contiguous() ? t : t.clone();
    all_.update(std::span(static_cast<std::byte const*>(whole.raw()), whole.bytes()));
    return *this;
  }
  template <class T>
  hasher& lists(ragged<T> const& r) {
    number(r.size());
    for (std::size_t i = 0; i < r.size(); ++i) {
      number(r[i].size());
      if constexpr (std::is_same_v<T, std::string>)
        for (auto const& s : r[i]) text(s);
      else
        all_.update(std::as_bytes(r[i]));
    }
    return *this;
  }
  std::string hex() const { return all_.hex(); }

 private:
  sha256 all_;
};

bool integral(std::span<double const> all) {
  return std::all_of(all.begin(), all.end(), [](double v) { return v == std::trunc(v) && std::abs(v) < 0x1p52; });
}

}  // namespace

std::string digest_of(tensor const& t) {
  return hasher().values(t).hex();
}

std::string digest_of(results const& r) {
  hasher h;
  for (auto const& name : r.names()) {
    dataset const& d = *r.find(name);
    h.text(name).text(d.about()).text(d.units()).text(d.missing()).text(d.view());
    if (d.is_text())
      for (auto const& t : d.texts()) h.text(t);
    else
      h.values(d.values());
    for (auto const& [dimension, labels] : d.label_map()) {
      h.text(dimension);
      for (auto const& l : labels) h.text(l);
    }
    for (auto const& [dimension, numbers] : d.coordinate_map()) h.text(dimension).values(numbers);
  }
  return h.text(r.summary()).hex();
}

std::string digest_of(accumulator const& a) {
  hasher h;
  for (auto const& [name, field] : a.fields()) h.text(name).values(a[name]);
  return h.hex();
}

std::string digest_of(item_block const& b) {
  hasher h;
  h.number(b.first).number(b.count).lists(b.words).lists(b.tokens).lists(b.decoder_tokens).lists(b.token_types).lists(b.choices);
  for (auto const& t : b.texts) h.text(t);
  for (auto const& t : b.seconds) h.text(t);
  for (auto const& [name, values] : b.truth) h.text(name).values(values);
  return h.hex();
}

std::string digest_of(batch const& b) {
  hasher h;
  h.lists(b.tokens).lists(b.decoder_tokens).lists(b.token_types).values(b.embeddings).values(b.encoder_states);
  for (auto const p : b.first_position) h.number(p);
  return h.hex();
}

std::string digest_of(source_info const& i) {
  hasher h;
  h.number(i.items).number(i.vocabulary).number(i.longest);
  h.number(i.has_words).number(i.has_tokens).number(i.has_texts).number(i.has_choices);
  for (auto const& w : i.words) h.text(w);
  for (auto const& n : i.notes) h.text(n);
  for (auto const& [name, values] : i.truth) h.text(name).values(values);
  return h.hex();
}

std::string digest_of(model_info const& i) {
  hasher h;
  h.text(i.architecture);
  for (std::size_t const n : {static_cast<std::size_t>(i.family), i.layers, i.decoder_layers, i.heads, i.d_model, i.d_head,
                              i.d_mlp, i.vocabulary, i.longest, static_cast<std::size_t>(i.norm)})
    h.number(n);
  for (auto const& k : i.hooks) {
    h.text(k.name).number(k.per_pair).number(static_cast<std::size_t>(k.along)).number(static_cast<std::size_t>(k.keys));
    for (auto const& d : k.row) h.text(d.name).number(d.size);
  }
  for (auto const& w : i.weights) h.text(w);
  return h.hex();
}

bool same_bytes(tensor const& a, tensor const& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (a.type() != b.type() || a.shape() != b.shape()) return false;
  tensor const x = a.contiguous() ? a : a.clone(), y = b.contiguous() ? b : b.clone();
  return x.bytes() == 0 || std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

double relative_distance(tensor const& a, tensor const& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined() ? 0 : far_apart;
  if (a.shape() != b.shape()) return far_apart;
  tensor const x = a.to(dtype::f64), y = b.to(dtype::f64);
  auto const p = x.values<double const>(), q = y.values<double const>();
  double largest = 1e-30, apart = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (std::isnan(p[i]) && std::isnan(q[i])) continue;
    if (p[i] == q[i]) {
      if (std::isfinite(p[i])) largest = std::max(largest, std::abs(p[i]));
      continue;
    }
    if (!std::isfinite(p[i]) || !std::isfinite(q[i])) return far_apart;
    largest = std::max({largest, std::abs(p[i]), std::abs(q[i])});
    apart = std::max(apart, std::abs(p[i] - q[i]));
  }
  return apart / largest;
}

difference compare(accumulator const& a, accumulator const& b, accumulator const& magnitudes) {
  difference out;
  auto const worse = [&](double by, std::string what) {
    if (by > out.worst) out = {std::move(what), by};
  };
  if (a.items() != b.items())
    worse(far_apart, "one accumulator has " + std::to_string(a.items()) + " items, the other " + std::to_string(b.items()));
  for (auto const& [name, field] : a.fields()) {
    if (!b.fields().contains(name)) {
      worse(far_apart, "the field '" + name + "' is missing");
      continue;
    }
    tensor const &x = a[name], &y = b[name];
    if (x.shape() != y.shape() || x.type() != y.type()) {
      worse(far_apart, "the field '" + name + "' is " + describe(x.shape()) + ", then " + describe(y.shape()));
      continue;
    }
    if (same_bytes(x, y)) continue;
    if (field.rows) {
      worse(far_apart, "rows of '" + name + "' differ");
      continue;
    }
    auto const p = x.values<double const>(), q = y.values<double const>();
    tensor const sizes = magnitudes.fields().contains(name) ? magnitudes[name] : tensor();
    bool const known = sizes.defined() && sizes.shape() == x.shape();
    bool const exact = known && integral(sizes.values<double const>());
    for (std::size_t i = 0; i < p.size(); ++i) {
      if (p[i] == q[i] || (std::isnan(p[i]) && std::isnan(q[i]))) continue;
      double const scale = known ? sizes.values<double const>()[i] : std::max(std::abs(p[i]), std::abs(q[i]));
      double const by =
          !std::isfinite(p[i]) || !std::isfinite(q[i]) || exact ? far_apart : std::abs(p[i] - q[i]) / std::max(scale, 1e-300);
      char numbers[80];
      std::snprintf(numbers, sizeof numbers, "%.17g, then %.17g", p[i], q[i]);
      worse(by, "'" + name + "' is " + numbers + (exact ? ", though it adds up whole numbers" : ""));
    }
  }
  return out;
}

std::string first_difference(results const& a, results const& b, bool numbers) {
  if (a.names() != b.names()) return "the datasets themselves";
  for (auto const& name : a.names()) {
    dataset const &x = *a.find(name), &y = *b.find(name);
    if (x.is_text() != y.is_text()) return name;
    if (x.is_text() ? numbers && x.texts() != y.texts() : x.shape() != y.shape() || x.values().type() != y.values().type())
      return name;
    if (numbers && !x.is_text() && !same_bytes(x.values(), y.values())) return name;
  }
  return {};
}

}  // namespace wayfarer::host::conformance
