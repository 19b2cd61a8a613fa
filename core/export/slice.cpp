#include "export/slice.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

namespace wayfarer::host {

namespace {

constexpr char how[] =
    "; for each dimension write an index (3, -1), a range (2:5), a label in quotes, or ':', by place or as name=...: "
    "'NODE/DATASET[layer=3,token=5:9]'";

class slice_parser {
 public:
  explicit slice_parser(std::string_view text, std::size_t at) : text_(text), at_(at) {}

  std::vector<slice_item> items() {
    std::vector<slice_item> out;
    skip_blanks();
    if (peek() == ']') fail("the slice is empty");
    for (;;) {
      out.push_back(item());
      skip_blanks();
      if (peek() == ',') {
        ++at_;
        continue;
      }
      if (peek() != ']') fail(at_ < text_.size() ? "expected ',' or ']'" : "the slice has no ']' at its end");
      ++at_;
      if (at_ != text_.size()) fail("nothing may follow the ']'");
      break;
    }
    if (std::count_if(out.begin(), out.end(), [](auto const& i) { return i.what == slice_item::form::rest; }) > 1)
      fail("'...' may stand once");
    return out;
  }

 private:
  [[noreturn]] void fail(std::string const& what) const {
    throw usage_error("'" + std::string(text_) + "': character " + std::to_string(at_ + 1) + ": " + what + how);
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_blanks() {
    while (peek() == ' ') ++at_;
  }

  slice_item item() {
    skip_blanks();
    std::size_t const begin = at_;
    slice_item out;
    if (peek() != '\'' && peek() != '"') {
      std::size_t const end = std::min(text_.find_first_of(",]'\"", at_), text_.size());
      if (auto const equals = text_.substr(at_, end - at_).find('='); equals != text_.npos) {
        out.dimension = trimmed(text_.substr(at_, equals));
        if (out.dimension.empty()) fail("a name is missing before '='");
        at_ += equals + 1;
        skip_blanks();
      }
    }
    value(out);
    out.text = trimmed(text_.substr(begin, at_ - begin));
    return out;
  }

  void value(slice_item& out) {
    using form = slice_item::form;
    if (char const quote = peek(); quote == '\'' || quote == '"') {
      std::size_t const end = text_.find(quote, at_ + 1);
      if (end == text_.npos) fail("the quote has no end");
      out.what = form::label;
      out.label = text_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
      return;
    }
    std::size_t const end = std::min(text_.find_first_of(",]", at_), text_.size());
    std::string const word = trimmed(text_.substr(at_, end - at_));
    if (word.empty()) fail("an index, a range or a label is missing");
    if (word == "...") {
      if (!out.dimension.empty()) fail("'...' has no name");
      out.what = form::rest;
    } else if (auto const index = integer(word)) {
      out.what = form::index, out.first = index;
    } else if (auto const colon = word.find(':'); colon != word.npos) {
      auto const bound = [&](std::string const& side) -> std::optional<std::int64_t> {
        if (side.empty()) return std::nullopt;
        if (side.find(':') != side.npos) fail("a range has no step: take all of it, or single indices");
        auto const n = integer(side);
        if (!n) fail("a range goes from an index to an index, and '" + side + "' is none; put a label that holds ':' in quotes");
        return n;
      };
      out.first = bound(trimmed(word.substr(0, colon)));
      out.last = bound(trimmed(word.substr(colon + 1)));
      out.what = out.first || out.last ? form::range : form::all;
    } else if (word.find_first_of("[{}()") != word.npos) {
      fail("'" + word + "' is no index, range or label");
    } else {
      out.what = form::label, out.label = word;
    }
    at_ = end;
  }

  static std::string trimmed(std::string_view s) {
    auto const first = s.find_first_not_of(' ');
    return first == s.npos ? "" : std::string(s.substr(first, s.find_last_not_of(' ') - first + 1));
  }
  static std::optional<std::int64_t> integer(std::string_view s) {
    std::int64_t n = 0;
    auto const [end, bad] = std::from_chars(s.data(), s.data() + s.size(), n);
    if (bad != std::errc{} || end != s.data() + s.size()) return std::nullopt;
    return n;
  }

  std::string_view text_;
  std::size_t at_;
};

std::vector<std::string> dimension_names(dims const& shape) {
  std::vector<std::string> out;
  for (dim const& d : shape) out.push_back(d.name);
  return out;
}

/// A slice with every dimension's item resolved against what the file holds.
class slicer {
 public:
  slicer(result_reader const& r, dataset_name const& n)
      : r_(r), n_(n), where_(n.node + "/" + n.dataset), header_(r.header(n.node, n.dataset)) {}

  dataset_slice read() {
    std::size_t const rank = header_.shape.size();
    auto const items = assign();
    std::vector<index_range> part(rank);
    std::vector<bool> gone(rank, false);
    for (std::size_t a = 0; a < rank; ++a) part[a] = {0, header_.shape[a].size};
    // Labels come last: which token stands at a position depends on the item that is chosen.
    for (bool const labels : {false, true})
      for (std::size_t a = 0; a < rank; ++a) {
        if (!items[a] || (items[a]->what == slice_item::form::label) != labels) continue;
        part[a] = labels ? labelled(*items[a], a, part) : numbered(*items[a], a);
        gone[a] = labels || items[a]->what == slice_item::form::index;
      }

    dataset_slice out;
    dataset const whole = rank == 0 ? r_.read(n_.node, n_.dataset) : r_.read(n_.node, n_.dataset, part);
    dims kept;
    std::vector<std::size_t> axes;
    for (std::size_t a = 0; a < rank; ++a) {
      if (gone[a]) {
        auto const names = names_of(a, part).first;
        out.taken.push_back({header_.shape[a].name, part[a].first, names.empty() ? "" : names[part[a].first]});
      } else {
        kept.push_back(whole.shape()[a]);
        axes.push_back(a);
      }
    }
    out.part = whole.is_text() ? dataset(whole.texts(), kept) : dataset(whole.values().reshaped(kept));
    out.part.about(whole.about()).units(whole.units()).missing(whole.missing()).view_as_stored(whole.view());
    for (std::size_t const a : axes) {
      auto [names, tokens] = names_of(a, part);
      if (!names.empty()) {
        names.erase(names.begin() + static_cast<std::ptrdiff_t>(part[a].last), names.end());
        names.erase(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(part[a].first));
      }
      out.names.push_back(std::move(names));
      out.tokens.push_back(tokens);
      out.first.push_back(part[a].first);
      std::string const& name = header_.shape[a].name;
      if (auto const* labels = whole.find_labels(name); labels && labels->size() == whole.shape()[a].size)
        out.part.labels(name, *labels);
      else if (auto const c = whole.coordinate_map().find(name);
               c != whole.coordinate_map().end() && c->second.count() == whole.shape()[a].size)
        out.part.coordinate(name, c->second);
    }
    return out;
  }

 private:
  [[noreturn]] void fail(std::string const& what) const { throw usage_error(where_ + ": " + what); }
  std::string shape() const { return header_.shape.empty() ? "it is one value" : "it has " + describe(header_.shape); }

  /// The item of each dimension.
  std::vector<slice_item const*> assign() const {
    std::size_t const rank = header_.shape.size();
    std::vector<slice_item const*> out(rank, nullptr);
    auto const places = static_cast<std::size_t>(std::count_if(
        n_.items.begin(), n_.items.end(), [](auto const& i) { return i.dimension.empty() && i.what != slice_item::form::rest; }));
    if (places > rank) fail("the slice has " + std::to_string(places) + " items, and " + shape());
    std::size_t place = 0;
    for (slice_item const& i : n_.items) {
      std::size_t axis = place;
      if (i.what == slice_item::form::rest) {
        auto const after = static_cast<std::size_t>(
            std::count_if(&i + 1, n_.items.data() + n_.items.size(), [](auto const& k) { return k.dimension.empty(); }));
        place = rank - after;
        continue;
      }
      if (i.dimension.empty()) {
        ++place;
      } else {
        axis = named(i.dimension);
      }
      if (out[axis]) fail("two items for dimension '" + header_.shape[axis].name + "': " + out[axis]->text + " and " + i.text);
      out[axis] = &i;
    }
    return out;
  }

  std::size_t named(std::string const& name) const {
    auto const names = dimension_names(header_.shape);
    auto const at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) fail("no dimension '" + name + "'" + did_you_mean(name, names) + "; " + shape());
    if (std::find(at + 1, names.end(), name) != names.end())
      fail("there are two dimensions '" + name + "': choose by place; " + shape());
    return static_cast<std::size_t>(at - names.begin());
  }

  std::string extent(std::size_t axis) const {
    dim const& d = header_.shape[axis];
    return "dimension '" + d.name + "' has " + std::to_string(d.size) +
           (d.size == 0   ? ""
            : d.size == 1 ? ": only index 0"
                          : ": 0 to " + std::to_string(d.size - 1));
  }

  index_range numbered(slice_item const& i, std::size_t axis) const {
    auto const size = static_cast<std::int64_t>(header_.shape[axis].size);
    auto const from_end = [&](std::int64_t n) { return n < 0 ? n + size : n; };
    if (i.what == slice_item::form::all) return {0, header_.shape[axis].size};
    std::int64_t const first = from_end(i.first.value_or(0));
    if (i.what == slice_item::form::index) {
      if (first < 0 || first >= size) fail("index " + i.text + " is outside: " + extent(axis));
      return {static_cast<std::size_t>(first), static_cast<std::size_t>(first) + 1};
    }
    std::int64_t const last = from_end(i.last.value_or(size));
    if (first < 0 || last < 0 || last > size || first > size) fail("range " + i.text + " is outside: " + extent(axis));
    if (first > last) fail("range " + i.text + " ends before it begins: " + extent(axis));
    return {static_cast<std::size_t>(first), static_cast<std::size_t>(last)};
  }

  index_range labelled(slice_item const& i, std::size_t axis, std::vector<index_range> const& part) const {
    auto const names = names_of(axis, part).first;
    std::string const& dimension = header_.shape[axis].name;
    if (names.empty()) fail("dimension '" + dimension + "' has no labels, so '" + i.label + "' is none; give an index");
    std::vector<std::size_t> found;
    for (std::size_t k = 0; k < names.size(); ++k)
      if (names[k] == i.label) found.push_back(k);
    if (found.empty()) {
      std::string near = did_you_mean(i.label, names);
      if (near.empty())
        for (std::size_t k = 0; k < std::min<std::size_t>(names.size(), 10); ++k)
          near += (k == 0 ? "; it has '" : ", '") + names[k] + (k == 9 && names.size() > 10 ? "', ..." : "'");
      fail("no '" + i.label + "' in dimension '" + dimension + "'" + near);
    }
    if (found.size() > 1) {
      std::string all;
      for (std::size_t k = 0; k < std::min<std::size_t>(found.size(), 10); ++k)
        all += (k == 0 ? "" : ", ") + std::to_string(found[k]);
      fail("'" + i.label + "' stands more than once in dimension '" + dimension + "', at " + all +
           (found.size() > 10 ? ", ..." : "") + "; give an index");
    }
    return {found[0], found[0] + 1};
  }

  /// The names of all indices of a dimension, and whether they are tokens.
  std::pair<std::vector<std::string>, bool> names_of(std::size_t axis, std::vector<index_range> const& part) const {
    dim const& d = header_.shape[axis];
    if (d.size == 0) return {};
    if (auto const c = r_.coordinate(n_.node, n_.dataset, axis)) {
      std::vector<std::string> names;
      for (std::size_t i = 0; i < d.size; ++i) names.push_back(exact_text(*c, i));
      return {names, false};
    }
    auto tokens = token_names(axis, part);
    bool const found = !tokens.empty();
    return {std::move(tokens), found};
  }

  /// The tokens that stand at a dimension's indices, from a dataset of texts of the node that is called tokens.
  std::vector<std::string> token_names(std::size_t axis, std::vector<index_range> const& part) const {
    if (n_.node == "_run") return {};
    dim const& d = header_.shape[axis];
    // Of a model with two stacks: cross-attention goes from the decoder's tokens to the encoder's.
    bool const decoder = n_.dataset.find("decoder") != std::string::npos &&
                         !(n_.dataset.find("cross") != std::string::npos && d.name.starts_with("key"));
    std::vector<std::string> fallback;
    for (auto const& name : r_.datasets(n_.node)) {
      std::string const last = name.substr(name.rfind('/') + 1);
      if (last != "tokens" && last != "decoder_tokens" && last != "encoder_tokens") continue;
      if (name == n_.dataset) continue;
      dataset_header const h = r_.header(n_.node, name);
      if (!h.text || h.shape.empty() || h.shape.back().size != d.size) continue;
      bool const pairs = d.name.starts_with("query") || d.name.starts_with("key");
      bool const like = d.name.ends_with("_" + h.shape.back().name);  // other_pos is over the same tokens as pos
      if (h.shape.back().name != d.name && !pairs && !like) continue;
      std::vector<index_range> at;
      for (std::size_t t = 0; t + 1 < h.shape.size(); ++t) {
        std::size_t a = 0;
        while (a < header_.shape.size() && header_.shape[a] != h.shape[t]) ++a;
        if (a == header_.shape.size() || a == axis || part[a].last - part[a].first != 1) break;
        at.push_back(part[a]);
      }
      if (at.size() + 1 != h.shape.size()) continue;
      at.push_back({0, d.size});
      auto texts = r_.read(n_.node, name, at).texts();
      if (last.starts_with("decoder") == decoder) return texts;
      if (fallback.empty()) fallback = std::move(texts);
    }
    return fallback;
  }

  result_reader const& r_;
  dataset_name const& n_;
  std::string where_;
  dataset_header header_;
};

}  // namespace

dataset_name parse_dataset_name(std::string_view text) {
  auto const bracket = text.find('[');
  std::string_view const name = text.substr(0, bracket);
  auto const slash = name.find('/');
  dataset_name out;
  out.node = name.substr(0, slash);
  if (slash != name.npos) out.dataset = name.substr(slash + 1);
  if (bracket == text.npos) return out;
  if (out.dataset.empty())
    throw usage_error("'" + std::string(text) + "': a slice is of a dataset, NODE/DATASET[...], and here is only a node");
  out.sliced = true;
  out.items = slice_parser(text, bracket + 1).items();
  return out;
}

dataset_slice read_slice(result_reader const& r, dataset_name const& n) {
  return slicer(r, n).read();
}

std::string exact_text(dataset const& d, std::size_t i) {
  if (d.is_text()) return d.texts()[i];
  auto const shortest = [](auto x) -> std::string {
    if (std::isnan(x)) return "nan";
    if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
    char text[64];
    return {text, std::to_chars(text, text + sizeof text, x).ptr};
  };
  switch (d.values().type()) {
    case dtype::i64:
      return std::to_string(d.values().values<std::int64_t const>()[i]);
    case dtype::i32:
      return std::to_string(d.values().values<std::int32_t const>()[i]);
    case dtype::u8:
      return std::to_string(d.values().values<std::uint8_t const>()[i]);
    case dtype::f64:
      return shortest(d.values().values<double const>()[i]);
    case dtype::f32:
      return shortest(d.values().values<float const>()[i]);
    default:
      return shortest(static_cast<float>(d.values().reshaped({{"i", d.values().count()}}).get({i})));
  }
}

}  // namespace wayfarer::host
