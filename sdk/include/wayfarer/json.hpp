// JSON that may come from a stranger: one bounded, strict front end for config.json, tokenizer.json, safetensors headers and
// plans.
//
// `parse_json` refuses what other readers let pass or crash on: duplicate keys, a byte order mark, bad UTF-8, integers beyond 64
// bits, trailing bytes, nesting and sizes beyond the limits. Getters check type and range, and a failing one names the file and
// the path of keys, so that a reader is a list of `config.at("n_layer").as_integer(1, 1024)`.
//
// A `json_value` is a handle on one value of an immutable, shared document: copying it is cheap, it keeps the document alive, and
// any number of threads may read. `set` and `push_back` change only the handle they are called on (a shared document is copied
// first), so it behaves as a plain value when a plan is put together for writing.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

enum class json_kind : std::uint8_t { null, boolean, integer, number, string, array, object };

/// What a document may cost. `depth` counts nested arrays and objects; `values` counts every value, at roughly 40 bytes of memory
/// each (80 in an object).
struct json_limits {
  std::size_t bytes = 0;
  std::size_t depth = 0;
  std::size_t values = 0;
  bool wide_integers = false;  ///< read integers beyond 64 bits as numbers: Hugging Face writes 1e30 out for "no limit"
};
inline constexpr json_limits config_limits{std::size_t{1} << 20, 32, 100'000};
inline constexpr json_limits tokenizer_limits{std::size_t{64} << 20, 16, 5'000'000};
/// No document is nested deeper than this, parsed or built, whatever the limits say: walking one recurses.
inline constexpr std::size_t max_json_depth = 256;

class json_elements;
class json_members;

class WAYFARER_API json_value {
 public:
  /// null.
  json_value() noexcept = default;
  json_value(std::nullptr_t) noexcept {}
  template <std::same_as<bool> Bool>  // not what a pointer turns into
  json_value(Bool value) : json_value(bool_tag{}, value) {}
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) json_value(Integer value)
      : json_value(number_tag{}, value < 0, static_cast<std::uint64_t>(value)) {}
  /// Throws data_error for infinities and NaN, which JSON can't hold.
  json_value(double);
  /// Throws data_error when the text is not UTF-8.
  json_value(std::string);
  json_value(std::string_view text) : json_value(std::string(text)) {}
  json_value(char const* text) : json_value(std::string(text)) {}
  static json_value array(std::initializer_list<json_value> = {});
  static json_value object(std::initializer_list<std::pair<std::string_view, json_value>> = {});

  json_kind kind() const noexcept;
  bool is_null() const noexcept { return kind() == json_kind::null; }

  // Getters. All throw data_error, "config.json: n_head: expected an integer in 1..1024, got "x"".
  bool as_bool() const;
  /// An integer within [min, max]. 1.0 is not one.
  std::int64_t as_integer(std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                          std::int64_t max = std::numeric_limits<std::int64_t>::max()) const;
  /// An integer within [0, max].
  std::uint64_t as_unsigned(std::uint64_t max = std::numeric_limits<std::uint64_t>::max()) const;
  /// A number within [min, max]; integers too, rounded if beyond 2^53.
  double as_number(double min = std::numeric_limits<double>::lowest(), double max = std::numeric_limits<double>::max()) const;
  /// Lives as long as any handle on the document.
  std::string const& as_string() const;

  /// How many elements or members; not for other kinds.
  std::size_t size() const;
  /// Element i of an array.
  json_value at(std::size_t i) const;
  /// Member of an object; a missing one is an error. O(log n).
  json_value at(std::string_view key) const;
  /// Member of an object, or nothing.
  std::optional<json_value> find(std::string_view key) const;
  /// The same, but a member that is null counts as missing, as it does in Hugging Face configurations.
  std::optional<json_value> find_set(std::string_view key) const;
  /// `for (json_value v : x.elements())`
  json_elements elements() const;
  /// `for (auto const& [key, value] : x.members())`, in the order of the file.
  json_members members() const;

  /// Throws data_error "file: path of keys: message", for checks that only the caller can make.
  [[noreturn]] void fail(std::string_view message) const;

  /// Sets or replaces a member; null becomes an object. Throws data_error on another kind and beyond max_json_depth.
  json_value& set(std::string_view key, json_value value);
  /// Appends to an array; null becomes an array. Throws as `set`.
  json_value& push_back(json_value value);

  /// Same contents; the order of members doesn't matter. 1 and 1.0 differ.
  friend WAYFARER_API bool operator==(json_value const&, json_value const&);

 private:
  template <class>
  friend struct layout_of;
  friend class json_elements;
  friend class json_members;
  friend struct json_access;
  struct node;
  struct document;
  struct bool_tag {};
  struct number_tag {};

  json_value(bool_tag, bool);
  json_value(number_tag, bool negative, std::uint64_t bits);
  json_value(std::shared_ptr<document const> doc, node const* at) noexcept : document_(std::move(doc)), at_(at) {}
  explicit json_value(node&&);
  node const& get() const noexcept;
  node& own();
  json_value child(node const& n) const noexcept { return {document_, &n}; }
  std::string const& key_at(std::size_t i) const;
  json_value member_at(std::size_t i) const;
  [[noreturn]] void expected(std::string_view what) const;

  std::shared_ptr<document const> document_;
  node const* at_ = nullptr;  // nullptr: null
};

/// The elements of an array. Keeps the document alive.
class json_elements {
 public:
  class iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = json_value;
    iterator() = default;
    json_value operator*() const { return of_->at(i_); }
    iterator& operator++() noexcept { return ++i_, *this; }
    iterator operator++(int) noexcept { return {of_, i_++}; }
    friend bool operator==(iterator const&, iterator const&) = default;

   private:
    friend class json_elements;
    iterator(json_value const* of, std::size_t i) noexcept : of_(of), i_(i) {}
    json_value const* of_ = nullptr;
    std::size_t i_ = 0;
  };
  iterator begin() const noexcept { return {&of_, 0}; }
  iterator end() const noexcept { return {&of_, size_}; }

 private:
  template <class>
  friend struct layout_of;
  friend class json_value;
  json_elements(json_value of, std::size_t size) noexcept : of_(std::move(of)), size_(size) {}
  json_value of_;
  std::size_t size_;
};

/// A member of an object. The key lives as long as the value or any other handle on the document.
struct json_member {
  std::string const& key;
  json_value value;
};

/// The members of an object, in the order of the file. Keeps the document alive.
class json_members {
 public:
  class iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = json_member;
    iterator() = default;
    json_member operator*() const { return {of_->key_at(i_), of_->member_at(i_)}; }
    iterator& operator++() noexcept { return ++i_, *this; }
    iterator operator++(int) noexcept { return {of_, i_++}; }
    friend bool operator==(iterator const&, iterator const&) = default;

   private:
    friend class json_members;
    iterator(json_value const* of, std::size_t i) noexcept : of_(of), i_(i) {}
    json_value const* of_ = nullptr;
    std::size_t i_ = 0;
  };
  iterator begin() const noexcept { return {&of_, 0}; }
  iterator end() const noexcept { return {&of_, size_}; }

 private:
  template <class>
  friend struct layout_of;
  friend class json_value;
  json_members(json_value of, std::size_t size) noexcept : of_(std::move(of)), size_(size) {}
  json_value of_;
  std::size_t size_;
};

/// Reads a whole document. `name` is the file, for messages. Throws data_error "name:line:column: byte offset: what is wrong".
WAYFARER_API json_value parse_json(std::string_view text, std::string_view name, json_limits = config_limits);
/// Reads a file of at most `limits.bytes` bytes.
WAYFARER_API json_value read_json(std::string const& path, json_limits = config_limits);

enum class json_order : std::uint8_t { insertion, sorted };
/// UTF-8 text that `parse_json` reads back equal: doubles in the shortest form that does (always with a point or an exponent).
/// `indent` is the number of spaces per level; 0 is everything on one line without spaces. With json_order::sorted, equal values
/// give equal bytes.
WAYFARER_API std::string to_json(json_value const&, int indent = 0, json_order = json_order::insertion);

/// The text in double quotes for a message: control and invalid bytes escaped, the middle left out if it is long.
WAYFARER_API std::string in_quotes(std::string_view text);
WAYFARER_API bool is_utf8(std::string_view text) noexcept;

WAYFARER_ENUM_LAYOUT(json_kind, null, boolean, integer, number, string, array, object);
WAYFARER_LAYOUT(json_limits, bytes, depth, values, wide_integers);
WAYFARER_LAYOUT(json_value, document_, at_);
WAYFARER_LAYOUT(json_elements, of_, size_);
WAYFARER_LAYOUT(json_member, key, value);
WAYFARER_LAYOUT(json_members, of_, size_);
WAYFARER_ENUM_LAYOUT(json_order, insertion, sorted);

}  // namespace wayfarer
