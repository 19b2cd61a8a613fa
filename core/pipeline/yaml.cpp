#include "pipeline/yaml.hpp"

#include <algorithm>
#include <istream>
#include <optional>
#include <streambuf>
#include <unordered_map>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <wayfarer/json.hpp>

namespace wayfarer::host {
namespace {

// A stream over text that somebody else owns.
class view_buffer final : public std::streambuf {
 public:
  explicit view_buffer(std::string_view text) {
    auto* const begin = const_cast<char*>(text.data());  // only ever read
    setg(begin, begin, begin + text.size());
  }
};

class line_table {
 public:
  explicit line_table(std::string_view text) : text_(text), starts_{0} {
    for (std::size_t i = 0; i < text.size(); ++i)
      if (text[i] == '\n') starts_.push_back(i + 1);
  }

  // yaml-cpp counts a column in bytes; people and editors count characters.
  place of(YAML::Mark const& mark) const {
    if (mark.is_null() || mark.line < 0 || mark.column < 0) return {};
    auto const line = static_cast<std::size_t>(mark.line);
    if (line >= starts_.size()) return {line + 1, 1};
    return at_offset(std::min(text_.size(), starts_[line] + static_cast<std::size_t>(mark.column)), line);
  }
  place at_offset(std::size_t offset) const {
    auto const after = std::upper_bound(starts_.begin(), starts_.end(), offset);
    return at_offset(offset, static_cast<std::size_t>(after - starts_.begin()) - 1);
  }

 private:
  place at_offset(std::size_t offset, std::size_t line) const {
    // Places are asked for in order, nearly: counting on from the last one keeps long lines linear.
    if (line != line_ || offset < offset_) line_ = line, offset_ = starts_[line], column_ = 1;
    for (; offset_ < offset; ++offset_) column_ += (static_cast<unsigned char>(text_[offset_]) & 0xc0) != 0x80;
    return {line + 1, column_};
  }

  std::string_view text_;
  std::vector<std::size_t> starts_;
  mutable std::size_t line_ = 0, offset_ = 0, column_ = 1;
};

struct beyond_limits {
  place at;
  std::string message;
};

class tree_builder final : public YAML::EventHandler {
 public:
  tree_builder(line_table const& lines, std::vector<problem>& problems) : lines_(lines), problems_(problems) {}

  yaml_value take() { return std::move(root_); }

  void OnDocumentStart(YAML::Mark const&) override {}
  void OnDocumentEnd() override {}

  void OnNull(YAML::Mark const& mark, YAML::anchor_t) override { leaf(make(yaml_kind::null, mark)); }

  void OnAlias(YAML::Mark const& mark, YAML::anchor_t) override {
    auto v = make(yaml_kind::null, mark);
    complain(v.from.at, "aliases ('*name') are not used in pipelines; write the value out, in quotes if it begins with '*'");
    leaf(std::move(v));
  }

  void OnScalar(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t, std::string const& text) override {
    auto v = make(yaml_kind::scalar, mark);
    check_tag(tag, v.from.at);
    v.quoted = tag == "!";
    v.text = text;
    leaf(std::move(v));
  }

  void OnSequenceStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(yaml_kind::list, mark, tag);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(yaml_kind::map, mark, tag);
  }
  void OnMapEnd() override { close(); }

 private:
  struct open_value {
    yaml_value value;
    std::optional<yaml_entry> pending;                   // a map's key that waits for its value
    bool drop = false;                                   // the pending entry is a duplicate or has no usable key
    std::unordered_map<std::string, std::size_t> lines;  // of the keys so far
  };

  void complain(place at, std::string message) { problems_.push_back({at, std::move(message)}); }

  yaml_value make(yaml_kind kind, YAML::Mark const& mark) {
    yaml_value v;
    v.kind = kind;
    v.from.at = lines_.of(mark);
    if (++values_ > max_yaml_values)
      throw beyond_limits{v.from.at,
                          "more than " + std::to_string(max_yaml_values) + " values; a pipeline names large data by path"};
    return v;
  }

  void check_tag(std::string const& tag, place at) {
    if (!tag.empty() && tag != "?" && tag != "!") complain(at, "tags ('!name') are not used in pipelines; leave it out");
  }

  void open(yaml_kind kind, YAML::Mark const& mark, std::string const& tag) {
    auto v = make(kind, mark);
    check_tag(tag, v.from.at);
    if (stack_.size() >= max_yaml_depth)
      throw beyond_limits{v.from.at, "nested more than " + std::to_string(max_yaml_depth) + " deep"};
    stack_.push_back({std::move(v), {}, false, {}});
  }

  void close() {
    auto v = std::move(stack_.back().value);
    stack_.pop_back();
    leaf(std::move(v));
  }

  void leaf(yaml_value v) {
    if (stack_.empty()) {
      root_ = std::move(v);
      return;
    }
    auto& top = stack_.back();
    if (top.value.kind == yaml_kind::list) {
      top.value.items.push_back(std::move(v));
    } else if (!top.pending) {
      start_entry(top, std::move(v));
    } else {
      top.pending->value = std::move(v);
      if (!top.drop) top.value.entries.push_back(std::move(*top.pending));
      top.pending.reset();
    }
  }

  void start_entry(open_value& top, yaml_value key) {
    top.drop = key.kind != yaml_kind::scalar;
    if (top.drop) {
      complain(key.from.at, "a key must be a word");
    } else if (auto const [first, fresh] = top.lines.emplace(key.text, key.from.at.line); !fresh) {
      complain(key.from.at,
               "duplicate key " + single_quoted(key.text) + ", first given at line " + std::to_string(first->second));
      top.drop = true;
    }
    top.pending = yaml_entry{std::move(key.text), std::move(key.from), {}};
  }

  line_table const& lines_;
  std::vector<problem>& problems_;
  std::vector<open_value> stack_;
  std::size_t values_ = 0;
  yaml_value root_;
};

// What yaml-cpp would misread: other encodings, and control characters (it takes 0x04 for the end of the stream).
std::optional<problem> find_foreign_bytes(std::string_view text, line_table const& lines) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto const c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f)
      return problem{lines.at_offset(i), "control character (byte " + std::to_string(c) + "); a pipeline is UTF-8 text"};
  }
  if (is_utf8(text)) return {};
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 1;
    while (length <= 4 && !is_utf8(text.substr(i, length))) ++length;
    if (length > 4) return problem{lines.at_offset(i), "not UTF-8; save the file in that encoding"};
    i += length;
  }
  return {};
}

}  // namespace

std::string single_quoted(std::string_view text) {
  auto q = in_quotes(text);
  q.front() = q.back() = '\'';
  return q;
}

yaml_entry* yaml_value::find(std::string_view key) noexcept {
  for (auto& e : entries)
    if (e.key == key) return &e;
  return nullptr;
}
yaml_entry const* yaml_value::find(std::string_view key) const noexcept {
  return const_cast<yaml_value*>(this)->find(key);
}

yaml_value read_yaml(std::string_view text, std::vector<problem>& problems) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  line_table const lines(text);
  if (auto foreign = find_foreign_bytes(text, lines)) {
    problems.push_back(std::move(*foreign));
    return {};
  }
  view_buffer buffer(text);
  std::istream in(&buffer);
  tree_builder tree(lines, problems);
  try {
    YAML::Parser parser(in);
    if (!parser.HandleNextDocument(tree)) {
      problems.push_back({{1, 1}, "the file is empty; a pipeline has at least 'nodes:'"});
      return {};
    }
    auto root = tree.take();
    tree_builder rest(lines, problems);
    if (parser.HandleNextDocument(rest)) problems.push_back({rest.take().from.at, "a second document; a pipeline file has one"});
    return root;
  } catch (beyond_limits const& e) {
    problems.push_back({e.at, e.message});
  } catch (YAML::Exception const& e) {
    problems.push_back({lines.of(e.mark), "not YAML: " + e.msg});
  }
  return {};
}

}  // namespace wayfarer::host
