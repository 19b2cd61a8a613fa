#include <wayfarer/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer {

namespace {

void append_hex(std::string& out, unsigned char c) {
  constexpr char digits[] = "0123456789abcdef";
  out += digits[c >> 4];
  out += digits[c & 15];
}

/// Fit for a terminal and a log: no control bytes, valid UTF-8, of bounded length.
std::string printable(std::string_view text, std::size_t most) {
  bool const cut = text.size() > most;
  std::string_view const parts[] = {cut ? text.substr(0, most * 2 / 3) : text, cut ? text.substr(text.size() - most / 4) : ""};
  std::string out;
  for (std::size_t part = 0; part < 2; ++part) {
    if (part == 1 && cut) out += "[...]";
    std::string_view s = parts[part];
    // A cut may fall inside a character; what is left of it is not worth showing.
    if (part == 1)
      while (!s.empty() && (static_cast<unsigned char>(s[0]) & 0xc0) == 0x80) s.remove_prefix(1);
    if (part == 0 && cut)
      for (int k = 0; k < 3 && !is_utf8(s); ++k) s.remove_suffix(1);
    bool const whole = is_utf8(s);
    for (char c : s) {
      auto const u = static_cast<unsigned char>(c);
      if (u < 0x20 || u == 0x7f || (u >= 0x80 && !whole)) {
        out += "\\x";
        append_hex(out, u);
      } else {
        out += c;
      }
    }
  }
  return out;
}

}  // namespace

std::string in_quotes(std::string_view text) {
  return '"' + printable(text, 120) + '"';
}

// ---- the tree ----

struct json_value::node {
  struct member;
  using elements = std::vector<node>;
  using object = std::vector<member>;
  // In the order of json_kind, but for the unsigned integers above the signed range.
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, elements, object> is;

  // Out of line: `member` isn't complete here.
  node() noexcept;
  template <class T>
  explicit node(T value) noexcept : is(std::move(value)) {}
  node(node const&);
  node(node&&) noexcept;
  node& operator=(node&&) noexcept;
  ~node();
};

/// Members stay in the order of insertion. `nth` serves the lookup without an index of its own: members[i].nth is the position of
/// the i-th smallest key.
struct json_value::node::member {
  std::string key;
  node value;
  std::uint32_t nth = 0;
};

json_value::node::node() noexcept = default;
json_value::node::node(node const& other) {
  // Not the variant's own copy: libstdc++ 12 runs into undefined behaviour when that one runs out of memory.
  std::visit(
      [this](auto const& x) {
        auto copy = x;
        is = std::move(copy);
      },
      other.is);
}
json_value::node::node(node&&) noexcept = default;
json_value::node& json_value::node::operator=(node&&) noexcept = default;
json_value::node::~node() = default;

struct json_value::document {
  std::string name;
  node root;
};

struct json_access {
  using node = json_value::node;
  using member = node::member;
  using elements = node::elements;
  using object = node::object;
  using document = json_value::document;

  static node const& get(json_value const& v) { return v.get(); }
  static json_value make(std::shared_ptr<document const> d) {
    node const* const root = &d->root;
    return {std::move(d), root};
  }

  static node integer(bool negative, std::uint64_t bits) {
    if (negative || bits <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return node(static_cast<std::int64_t>(bits));
    return node(bits);
  }

  static json_kind kind(node const& n) {
    constexpr std::array kinds = {json_kind::null,   json_kind::boolean, json_kind::integer, json_kind::integer,
                                  json_kind::number, json_kind::string,  json_kind::array,   json_kind::object};
    return kinds[n.is.index()];
  }

  /// Position in the sorted order of the first key not below `key`.
  static std::size_t lower_bound(object const& o, std::string_view key) {
    std::size_t first = 0, count = o.size();
    while (count > 0) {
      std::size_t const half = count / 2;
      if (o[o[first + half].nth].key < key) {
        first += half + 1;
        count -= half + 1;
      } else {
        count = half;
      }
    }
    return first;
  }

  static member const* find(object const& o, std::string_view key) {
    std::size_t const i = lower_bound(o, key);
    return i < o.size() && o[o[i].nth].key == key ? &o[o[i].nth] : nullptr;
  }

  static std::size_t depth(node const& n) {
    std::size_t most = 0;
    if (auto const* e = std::get_if<elements>(&n.is)) {
      for (node const& c : *e) most = std::max(most, depth(c));
    } else if (auto const* o = std::get_if<object>(&n.is)) {
      for (member const& m : *o) most = std::max(most, depth(m.value));
    } else {
      return 0;
    }
    return most + 1;
  }

  static bool equal(node const& a, node const& b) {
    if (a.is.index() != b.is.index()) return false;
    if (auto const* e = std::get_if<elements>(&a.is)) {
      auto const& f = std::get<elements>(b.is);
      return std::equal(e->begin(), e->end(), f.begin(), f.end(), equal);
    }
    if (auto const* o = std::get_if<object>(&a.is)) {
      auto const& p = std::get<object>(b.is);
      if (o->size() != p.size()) return false;
      for (std::size_t i = 0; i < o->size(); ++i) {
        member const &m = (*o)[(*o)[i].nth], &n = p[p[i].nth];
        if (m.key != n.key || !equal(m.value, n.value)) return false;
      }
      return true;
    }
    return std::visit(
        [&]<class T>(T const& x) {
          if constexpr (std::is_same_v<T, elements> || std::is_same_v<T, object>)
            return false;
          else
            return x == std::get<T>(b.is);
        },
        a.is);
  }

  /// Appends the keys that lead from `n` to `wanted`. Searching costs nothing until something is wrong.
  static bool path(node const& n, node const* wanted, std::string& out) {
    if (&n == wanted) return true;
    std::size_t const length = out.size();
    if (auto const* e = std::get_if<elements>(&n.is)) {
      for (std::size_t i = 0; i < e->size(); ++i) {
        out += '[' + std::to_string(i) + ']';
        if (path((*e)[i], wanted, out)) return true;
        out.resize(length);
      }
    } else if (auto const* o = std::get_if<object>(&n.is)) {
      for (member const& m : *o) {
        append_key(out, m.key);
        if (path(m.value, wanted, out)) return true;
        out.resize(length);
      }
    }
    return false;
  }

  static void append_key(std::string& out, std::string_view key) {
    bool const plain = !key.empty() && key.size() <= 100 && std::all_of(key.begin(), key.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    });
    if (plain) {
      if (!out.empty()) out += ": ";
      out += key;
    } else {
      out += '[' + in_quotes(key) + ']';
    }
  }

  static std::string brief(node const& n) {
    switch (kind(n)) {
      case json_kind::array:
        return "an array of " + std::to_string(std::get<elements>(n.is).size());
      case json_kind::object:
        return "an object of " + std::to_string(std::get<object>(n.is).size());
      case json_kind::string:
        return in_quotes(std::get<std::string>(n.is));
      default:
        break;
    }
    std::string out;
    write(n, 0, json_order::insertion, 0, out);
    return out;
  }

  static void write_string(std::string_view s, std::string& out) {
    out += '"';
    for (char c : s) {
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\b':
          out += "\\b";
          break;
        case '\f':
          out += "\\f";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        default:
          if (auto const u = static_cast<unsigned char>(c); u < 0x20) {
            out += "\\u00";
            append_hex(out, u);
          } else {
            out += c;
          }
      }
    }
    out += '"';
  }

  template <class T>
  static std::string_view write_number(T x, std::span<char> into) {
    return {into.data(), static_cast<std::size_t>(std::to_chars(into.data(), into.data() + into.size(), x).ptr - into.data())};
  }

  // Recursion ends at max_json_depth, which no tree exceeds.
  static void write(node const& n, int indent, json_order order, std::size_t level, std::string& out) {
    auto const new_line = [&](std::size_t l) {
      if (indent > 0) out.append(1, '\n').append(l * static_cast<std::size_t>(indent), ' ');
    };
    char buffer[40];
    std::visit(
        [&]<class T>(T const& x) {
          if constexpr (std::is_same_v<T, std::nullptr_t>) {
            out += "null";
          } else if constexpr (std::is_same_v<T, bool>) {
            out += x ? "true" : "false";
          } else if constexpr (std::is_same_v<T, std::string>) {
            write_string(x, out);
          } else if constexpr (std::is_same_v<T, elements>) {
            out += '[';
            for (std::size_t i = 0; i < x.size(); ++i) {
              if (i) out += ',';
              new_line(level + 1);
              write(x[i], indent, order, level + 1, out);
            }
            if (!x.empty()) new_line(level);
            out += ']';
          } else if constexpr (std::is_same_v<T, object>) {
            out += '{';
            for (std::size_t i = 0; i < x.size(); ++i) {
              member const& m = x[order == json_order::sorted ? x[i].nth : i];
              if (i) out += ',';
              new_line(level + 1);
              write_string(m.key, out);
              out += indent > 0 ? ": " : ":";
              write(m.value, indent, order, level + 1, out);
            }
            if (!x.empty()) new_line(level);
            out += '}';
          } else {
            std::string_view const text = write_number(x, buffer);
            out += text;
            if (std::is_same_v<T, double> && text.find_first_of(".e") == text.npos) out += ".0";
          }
        },
        n.is);
  }

  class reader;
};

// ---- reading ----

namespace {

/// Walks the text for nlohmann's lexer and lets the handler know how far it has got.
class counting_iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using difference_type = std::ptrdiff_t;
  using value_type = char;
  using pointer = char const*;
  using reference = char const&;

  counting_iterator(char const* at, char const** reached) : at_(at), reached_(reached) {}
  char const& operator*() const { return *at_; }
  counting_iterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  counting_iterator operator++(int) {
    counting_iterator const before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(counting_iterator const& a, counting_iterator const& b) { return a.at_ == b.at_; }

 private:
  char const* at_;
  char const** reached_;
};

}  // namespace

/// Receives nlohmann's events, which come without recursion, and builds the tree within the limits.
class json_access::reader {
 public:
  reader(std::string_view text, std::string_view name, json_limits limits) : text_(text), name_(name), limits_(limits) {
    limits_.depth = std::min(limits_.depth, max_json_depth);
  }

  std::shared_ptr<document const> read() {
    if (text_.size() > limits_.bytes)
      throw data_error(
          located(name_, 0, 0,
                  "is " + std::to_string(text_.size()) + " bytes long; at most " + std::to_string(limits_.bytes) + " are read"));
    if (text_.starts_with("\xef\xbb\xbf")) fail(0, "starts with a byte order mark, which JSON doesn't allow");
    // nlohmann's lexer takes a NUL byte for the end and would accept anything behind it.
    if (std::size_t const at = text_.find('\0'); at != text_.npos) fail(at, "NUL byte");
    document_->name = name_;
    nlohmann::json::sax_parse(counting_iterator(text_.data(), &reached_),
                              counting_iterator(text_.data() + text_.size(), &reached_), this);
    return document_;
  }

  bool null() { return add(node(nullptr)); }
  bool boolean(bool x) { return add(node(x)); }
  bool number_integer(std::int64_t x) { return add(node(x)); }
  bool number_unsigned(std::uint64_t x) { return add(integer(false, x)); }
  bool number_float(double x, std::string const& token) {
    // nlohmann turns an integer that doesn't fit into a double without a word.
    if (!limits_.wide_integers && token.find_first_of(".eE") == token.npos)
      fail(before(), "integer " + in_quotes(token) + " doesn't fit 64 bits");
    return add(node(x));
  }
  bool string(std::string& s) { return add(node(std::move(s))); }
  bool binary(nlohmann::json::binary_t&) { return false; }

  bool start_object(std::size_t) { return open(node(object{})); }
  bool key(std::string& k) {
    auto& o = std::get<object>(open_.back()->is);
    if (o.size() == std::numeric_limits<std::uint32_t>::max()) fail(before(), "has too many members");
    o.push_back({std::move(k), {}, 0});
    key_offsets_.push_back(before());
    return true;
  }
  bool end_object() {
    auto& o = std::get<object>(open_.back()->is);
    std::size_t const first_offset = key_offsets_.size() - o.size();
    order_.resize(o.size());
    std::iota(order_.begin(), order_.end(), 0u);
    std::sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
      int const c = o[a].key.compare(o[b].key);
      return c != 0 ? c < 0 : a < b;
    });
    for (std::size_t i = 0; i < o.size(); ++i) {
      if (i > 0 && o[order_[i]].key == o[order_[i - 1]].key)
        fail(key_offsets_[first_offset + order_[i]], "duplicate key " + in_quotes(o[order_[i]].key));
      o[i].nth = order_[i];
    }
    key_offsets_.resize(first_offset);
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) { return open(node(elements{})); }
  bool end_array() {
    open_.pop_back();
    return true;
  }

  bool parse_error(std::size_t position, std::string const&, nlohmann::detail::exception const& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error while ..."; the place is given our way.
    std::string_view what = e.what();
    for (std::string_view prefix : {"] ", "parse error at line "})
      if (std::size_t const at = what.find(prefix); at != what.npos && at < 60) what.remove_prefix(at + prefix.size());
    if (std::size_t const at = what.find(": "); what.find(", column ") < at && at < 40) what.remove_prefix(at + 2);
    fail(position > text_.size() ? text_.size() : position - (position > 0), what);
  }

 private:
  /// Offset of the last byte that the lexer has taken.
  std::size_t before() const { return static_cast<std::size_t>(reached_ - text_.data()) - (reached_ != text_.data()); }

  [[noreturn]] void fail(std::size_t offset, std::string_view what) const {
    std::string_view const done = text_.substr(0, offset);
    auto const line = static_cast<std::size_t>(std::count(done.begin(), done.end(), '\n')) + 1;
    std::size_t const line_start = done.rfind('\n') == done.npos ? 0 : done.rfind('\n') + 1;
    throw data_error(
        located(name_, line, offset - line_start + 1, "byte " + std::to_string(offset) + ": " + printable(what, 300)));
  }

  node* place(node&& n) {
    if (++values_ > limits_.values) fail(before(), "more than " + std::to_string(limits_.values) + " values");
    node* to = &document_->root;
    if (!open_.empty()) {
      if (auto* e = std::get_if<elements>(&open_.back()->is))
        to = &e->emplace_back();
      else
        to = &std::get<object>(open_.back()->is).back().value;
    }
    *to = std::move(n);
    return to;
  }
  bool add(node&& n) {
    place(std::move(n));
    return true;
  }
  bool open(node&& n) {
    if (open_.size() == limits_.depth) fail(before(), "nested more than " + std::to_string(limits_.depth) + " deep");
    // A pointer into the parent stays good: the parent can't grow before this is closed.
    open_.push_back(place(std::move(n)));
    return true;
  }

  std::string_view text_, name_;
  json_limits limits_;
  std::shared_ptr<document> document_ = std::make_shared<document>();
  char const* reached_ = text_.data();
  std::size_t values_ = 0;
  std::vector<node*> open_;
  std::vector<std::size_t> key_offsets_;  // of all open objects, outermost first
  std::vector<std::uint32_t> order_;
};

json_value parse_json(std::string_view text, std::string_view name, json_limits limits) {
  if (text.data() == nullptr) text = "";
  return json_access::make(json_access::reader(text, name, limits).read());
}

json_value read_json(std::string const& path, json_limits limits) {
  return parse_json(read_text(path, limits.bytes), path, limits);
}

std::string to_json(json_value const& v, int indent, json_order order) {
  std::string out;
  json_access::write(json_access::get(v), indent, order, 0, out);
  return out;
}

bool operator==(json_value const& a, json_value const& b) {
  return json_access::equal(a.get(), b.get());
}

// ---- json_value ----

json_value::json_value(node&& n) {
  auto d = std::make_shared<document>();
  d->root = std::move(n);
  at_ = &d->root;
  document_ = std::move(d);
}

json_value::json_value(bool_tag, bool x) : json_value(node(x)) {}
json_value::json_value(number_tag, bool negative, std::uint64_t bits) : json_value(json_access::integer(negative, bits)) {}
json_value::json_value(double x) : json_value(node(x)) {
  if (!std::isfinite(x)) throw data_error("JSON can't hold infinities or NaN");
}
json_value::json_value(std::string s) : json_value(node(std::move(s))) {
  if (!is_utf8(std::get<std::string>(at_->is))) throw data_error(in_quotes(as_string()) + " is not UTF-8, so it can't be JSON");
}

json_value json_value::array(std::initializer_list<json_value> values) {
  json_value v(node(node::elements{}));
  for (json_value const& x : values) v.push_back(x);
  return v;
}

json_value json_value::object(std::initializer_list<std::pair<std::string_view, json_value>> members) {
  json_value v(node(node::object{}));
  for (auto const& [key, value] : members) v.set(key, value);
  return v;
}

json_value::node const& json_value::get() const noexcept {
  static node const null;
  return at_ ? *at_ : null;
}

json_value::node& json_value::own() {
  // No other code can see a document with one handle, and every document was made as a non-const object.
  if (!at_ || document_.use_count() != 1 || at_ != &document_->root) *this = json_value(node(get()));
  return const_cast<node&>(*at_);
}

json_kind json_value::kind() const noexcept {
  return json_access::kind(get());
}

void json_value::fail(std::string_view message) const {
  std::string where;
  if (document_) {
    std::string path;
    json_access::path(document_->root, at_, path);
    where = printable(document_->name, 4000);
    if (!path.empty()) where += (where.empty() ? "" : ": ") + path;
  }
  throw data_error(where.empty() ? std::string(message) : where + ": " + std::string(message));
}

void json_value::expected(std::string_view what) const {
  fail("expected " + std::string(what) + ", got " + json_access::brief(get()));
}

bool json_value::as_bool() const {
  if (auto const* x = std::get_if<bool>(&get().is)) return *x;
  expected("true or false");
}

std::int64_t json_value::as_integer(std::int64_t min, std::int64_t max) const {
  if (auto const* x = std::get_if<std::int64_t>(&get().is); x && *x >= min && *x <= max) return *x;
  bool const any = min == std::numeric_limits<std::int64_t>::min() && max == std::numeric_limits<std::int64_t>::max();
  expected(any ? "an integer" : "an integer in " + std::to_string(min) + ".." + std::to_string(max));
}

std::uint64_t json_value::as_unsigned(std::uint64_t max) const {
  if (auto const* x = std::get_if<std::int64_t>(&get().is); x && *x >= 0 && static_cast<std::uint64_t>(*x) <= max)
    return static_cast<std::uint64_t>(*x);
  if (auto const* x = std::get_if<std::uint64_t>(&get().is); x && *x <= max) return *x;
  expected("an integer in 0.." + std::to_string(max));
}

double json_value::as_number(double min, double max) const {
  node const& n = get();
  double x = std::numeric_limits<double>::quiet_NaN();
  if (auto const* d = std::get_if<double>(&n.is))
    x = *d;
  else if (auto const* i = std::get_if<std::int64_t>(&n.is))
    x = static_cast<double>(*i);
  else if (auto const* u = std::get_if<std::uint64_t>(&n.is))
    x = static_cast<double>(*u);
  if (x >= min && x <= max) return x;
  auto const text = [](double bound) {
    char buffer[40];
    return std::string(json_access::write_number(bound, buffer));
  };
  bool const low = min > std::numeric_limits<double>::lowest(), high = max < std::numeric_limits<double>::max();
  expected(low && high ? "a number in " + text(min) + ".." + text(max)
           : low       ? "a number of at least " + text(min)
           : high      ? "a number of at most " + text(max)
                       : std::string("a number"));
}

std::string const& json_value::as_string() const {
  if (auto const* x = std::get_if<std::string>(&get().is)) return *x;
  expected("a string");
}

std::size_t json_value::size() const {
  if (auto const* e = std::get_if<node::elements>(&get().is)) return e->size();
  if (auto const* o = std::get_if<node::object>(&get().is)) return o->size();
  expected("an array or an object");
}

json_value json_value::at(std::size_t i) const {
  auto const* e = std::get_if<node::elements>(&get().is);
  if (!e) expected("an array");
  if (i >= e->size()) fail("has no element " + std::to_string(i) + ", only " + std::to_string(e->size()));
  return child((*e)[i]);
}

std::optional<json_value> json_value::find(std::string_view key) const {
  auto const* o = std::get_if<node::object>(&get().is);
  if (!o) expected("an object");
  if (auto const* m = json_access::find(*o, key)) return child(m->value);
  return std::nullopt;
}

std::optional<json_value> json_value::find_set(std::string_view key) const {
  auto found = find(key);
  if (found && found->is_null()) found.reset();
  return found;
}

json_value json_value::at(std::string_view key) const {
  if (auto found = find(key)) return *found;
  fail(in_quotes(key) + " is missing");
}

json_elements json_value::elements() const {
  if (kind() != json_kind::array) expected("an array");
  return {*this, size()};
}

json_members json_value::members() const {
  if (kind() != json_kind::object) expected("an object");
  return {*this, size()};
}

std::string const& json_value::key_at(std::size_t i) const {
  return std::get<node::object>(get().is)[i].key;
}
json_value json_value::member_at(std::size_t i) const {
  return child(std::get<node::object>(get().is)[i].value);
}

json_value& json_value::set(std::string_view key, json_value value) {
  if (!is_null() && kind() != json_kind::object) expected("an object");
  if (!is_utf8(key)) fail("key " + in_quotes(key) + " is not UTF-8");
  if (json_access::depth(value.get()) >= max_json_depth) fail("would be nested too deep");
  node taken = std::move(value.own());
  node& n = own();
  if (n.is.index() == 0) n.is = node::object{};
  auto& o = std::get<node::object>(n.is);
  std::size_t const at = json_access::lower_bound(o, key);
  if (at < o.size() && o[o[at].nth].key == key) {
    o[o[at].nth].value = std::move(taken);
    return *this;
  }
  o.push_back({std::string(key), std::move(taken), 0});
  for (std::size_t i = o.size() - 1; i > at; --i) o[i].nth = o[i - 1].nth;
  o[at].nth = static_cast<std::uint32_t>(o.size() - 1);
  return *this;
}

json_value& json_value::push_back(json_value value) {
  if (!is_null() && kind() != json_kind::array) expected("an array");
  if (json_access::depth(value.get()) >= max_json_depth) fail("would be nested too deep");
  node taken = std::move(value.own());
  node& n = own();
  if (n.is.index() == 0) n.is = node::elements{};
  std::get<node::elements>(n.is).push_back(std::move(taken));
  return *this;
}

}  // namespace wayfarer
