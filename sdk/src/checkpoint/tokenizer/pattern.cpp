#define PCRE2_CODE_UNIT_WIDTH 8
#include "pattern.hpp"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "text.hpp"

namespace wayfarer::tokenizing {

namespace {

constexpr std::size_t longest_pattern = std::size_t{1} << 16;
constexpr int deepest_group = 50;

/// The contents of classes, as PCRE2 writes them. Its own \s has U+180E too, and its own \w no marks.
constexpr std::string_view spaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view of_words = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view hex_digits = "0-9A-Fa-f";

struct name_and_class {
  std::string_view name, contents;
};
/// Names of properties by how Oniguruma compares them: without case, spaces, "_" and "-".
constexpr name_and_class properties[] = {{"alnum", R"(\p{Alphabetic}\p{Nd})"},
                                         {"alpha", R"(\p{Alphabetic})"},
                                         {"alphabetic", R"(\p{Alphabetic})"},
                                         {"any", R"(\x{0}-\x{10ffff})"},
                                         {"ascii", R"(\x{0}-\x{7f})"},
                                         {"blank", R"(\x{9}\p{Zs})"},
                                         {"closepunctuation", R"(\p{Pe})"},
                                         {"cntrl", R"(\p{Cc})"},
                                         {"connectorpunctuation", R"(\p{Pc})"},
                                         {"control", R"(\p{Cc})"},
                                         {"currencysymbol", R"(\p{Sc})"},
                                         {"dashpunctuation", R"(\p{Pd})"},
                                         {"decimalnumber", R"(\p{Nd})"},
                                         {"digit", R"(\p{Nd})"},
                                         {"enclosingmark", R"(\p{Me})"},
                                         {"finalpunctuation", R"(\p{Pf})"},
                                         {"format", R"(\p{Cf})"},
                                         {"initialpunctuation", R"(\p{Pi})"},
                                         {"letter", R"(\p{L})"},
                                         {"letternumber", R"(\p{Nl})"},
                                         {"lineseparator", R"(\p{Zl})"},
                                         {"lower", R"(\p{Lowercase})"},
                                         {"lowercase", R"(\p{Lowercase})"},
                                         {"lowercaseletter", R"(\p{Ll})"},
                                         {"mark", R"(\p{M})"},
                                         {"mathsymbol", R"(\p{Sm})"},
                                         {"modifierletter", R"(\p{Lm})"},
                                         {"modifiersymbol", R"(\p{Sk})"},
                                         {"nonspacingmark", R"(\p{Mn})"},
                                         {"number", R"(\p{N})"},
                                         {"openpunctuation", R"(\p{Ps})"},
                                         {"other", R"(\p{C})"},
                                         {"otherletter", R"(\p{Lo})"},
                                         {"othernumber", R"(\p{No})"},
                                         {"otherpunctuation", R"(\p{Po})"},
                                         {"othersymbol", R"(\p{So})"},
                                         {"paragraphseparator", R"(\p{Zp})"},
                                         {"privateuse", R"(\p{Co})"},
                                         {"punct", R"(\p{P}$+<=>\^`|~)"},
                                         {"punctuation", R"(\p{P})"},
                                         {"separator", R"(\p{Z})"},
                                         {"space", spaces},
                                         {"spaceseparator", R"(\p{Zs})"},
                                         {"spacingmark", R"(\p{Mc})"},
                                         {"symbol", R"(\p{S})"},
                                         {"titlecaseletter", R"(\p{Lt})"},
                                         {"unassigned", R"(\p{Cn})"},
                                         {"upper", R"(\p{Uppercase})"},
                                         {"uppercase", R"(\p{Uppercase})"},
                                         {"uppercaseletter", R"(\p{Lu})"},
                                         {"whitespace", spaces},
                                         {"word", of_words},
                                         {"xdigit", hex_digits}};

/// A set of characters on its way from one syntax to the other: the contents of one class, or an expression that matches exactly
/// one character.
struct char_set {
  std::string contents;    ///< items of a class that is not negated; "" if it is none
  std::string expression;  ///< of more than items; "" if there is none
  bool empty() const noexcept { return contents.empty() && expression.empty(); }
};

/// An expression for exactly one character of the set.
std::string one_of(char_set const& s, bool negated) {
  if (s.expression.empty()) {
    // A class without items matches nothing.
    if (s.contents.empty()) return negated ? "(?s:.)" : "(?!)";
    // PCRE2 runs a property by itself faster than a class of one.
    if (s.contents.starts_with("\\p{") && s.contents.find('}') + 1 == s.contents.size())
      return (negated ? "\\P" : "\\p") + s.contents.substr(2);
    return (negated ? "[^" : "[") + s.contents + "]";
  }
  std::string const any = s.contents.empty() ? s.expression : "(?:[" + s.contents + "]|" + s.expression + ")";
  return negated ? "(?:(?!" + any + ")(?s:.))" : any;
}

void unite(char_set& into, char_set const& more) {
  into.contents += more.contents;
  if (more.expression.empty()) return;
  into.expression = into.expression.empty() ? more.expression : "(?:" + into.expression + "|" + more.expression + ")";
}

std::string code_point(char32_t c) {
  constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  for (; c > 0; c >>= 4) hex.insert(hex.begin(), digits[c & 15]);
  return "\\x{" + (hex.empty() ? "0" : hex) + "}";
}

class rewriter {
 public:
  rewriter(std::string_view text, bool guards, refusal const& refuse) : text_(text), guards_(guards), refuse_(refuse) {}

  std::string whole() {
    std::string out = alternatives(0, true);
    if (at_ < text_.size()) fail("a \")\" without a \"(\"");
    return out;
  }

 private:
  [[noreturn]] void fail(std::string const& what) const {
    refuse_("the regular expression " + in_quotes(text_) + ", at its byte " + std::to_string(at_) + ": " + what);
  }
  bool more() const noexcept { return at_ < text_.size(); }
  char now() const noexcept { return text_[at_]; }
  bool is(std::string_view what) const noexcept { return text_.substr(at_).starts_with(what); }
  bool take(std::string_view what) noexcept {
    if (!is(what)) return false;
    at_ += what.size();
    return true;
  }
  char32_t take_character() {
    character const c = read_character(text_, at_);
    if (!c.valid) fail("is not UTF-8");
    at_ += c.length;
    return c.value;
  }

  std::string alternatives(int depth, bool outermost) {
    if (depth > deepest_group) fail("groups are nested too deeply");
    std::vector<std::string> all;
    std::vector<std::string> first_sets;
    do {
      std::string guard, part = sequence(depth, guard);
      all.push_back(std::move(part)), first_sets.push_back(std::move(guard));
    } while (take("|"));
    std::string out;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i > 0) out += '|';
      // What begins with a run, and fails, fails within the run, too: trying there takes the square of the run's length. Where
      // another alternative takes the whole run, nothing of it is tried twice.
      bool const taken = std::find(all.begin(), all.end(), first_sets[i] + "+") != all.end();
      if (guards_ && outermost && !first_sets[i].empty() && !taken) out += "(?:\\G|(?<!" + first_sets[i] + "))";
      out += all[i];
    }
    return out;
  }

  /// `run`: the set that the sequence begins with, if that is a run without end and something follows.
  std::string sequence(int depth, std::string& run) {
    std::string out;
    bool first = true;
    while (more() && now() != '|' && now() != ')') {
      std::size_t const from = out.size();
      bool set = false;
      bool const repeats = atom(depth, out, set);
      std::string const one = out.substr(from);
      bool endless = false;
      if (repeats) quantifiers(out, from, endless);
      if (first && set && endless && more() && now() != '|' && now() != ')') run = one;
      first = false;
    }
    return out;
  }

  /// Adds an atom; false if nothing can repeat it.
  bool atom(int depth, std::string& out, bool& set) {
    switch (now()) {
      case '(':
        return group(depth, out);
      case '[':
        ++at_;
        out += one_class(), set = true;
        return true;
      case '.':
        ++at_;
        out += dot_all_ ? "(?s:.)" : "[^\\n]", set = true;
        return true;
      case '^':
      case '$':
        out += text_[at_++];
        return false;
      case '*':
      case '+':
      case '?':
        fail("nothing stands before it that could be repeated");
      case '\\':
        return escape(out, set);
      default:
        set = true;
        out += code_point(take_character());
        return true;
    }
  }

  bool group(int depth, std::string& out) {
    ++at_;
    bool const outer_dot_all = dot_all_;
    std::string open = "(?:";
    bool repeats = true;
    if (take("?")) {
      if (take("#")) {
        std::size_t const end = text_.find(')', at_);
        if (end == text_.npos) fail("a comment without an end");
        at_ = end + 1;
        return false;
      }
      if (take(":")) {
      } else if (take("=")) {
        open = "(?=", repeats = false;
      } else if (take("!")) {
        open = "(?!", repeats = false;
      } else if (take("<=")) {
        open = "(?<=", repeats = false;
      } else if (take("<!")) {
        open = "(?<!", repeats = false;
      } else if (take(">")) {
        open = "(?>";
      } else if (take("<")) {
        std::size_t const end = text_.find('>', at_);
        if (end == text_.npos) fail("the name of a group without an end");
        at_ = end + 1;
      } else {
        return options(depth, out);
      }
    }
    out += open + alternatives(depth + 1, false);
    if (!take(")")) fail("a \"(\" without a \")\"");
    out += ')';
    dot_all_ = outer_dot_all;
    return repeats;
  }

  /// (?i), (?m-i: ...): "m" lets the dot match a new line. Behind "(?".
  bool options(int depth, std::string& out) {
    bool const outer = dot_all_;
    std::string flags;
    bool off = false;
    for (; more() && now() != ':' && now() != ')'; ++at_) {
      if (now() == '-')
        off = true, flags += '-';
      else if (now() == 'i')
        flags += 'i';
      else if (now() == 'm')
        dot_all_ = !off;
      else
        fail("groups \"(?" + std::string(1, now()) + "\" are not supported");
    }
    if (flags == "-") flags.clear();
    if (take(")")) {
      // Counts to the end of the group that it stands in, alternatives included.
      out += "(?" + flags + ":" + alternatives(depth + 1, false) + ")";
      return false;
    }
    if (!take(":")) fail("a \"(\" without a \")\"");
    out += "(?" + flags + ":" + alternatives(depth + 1, false);
    if (!take(")")) fail("a \"(\" without a \")\"");
    out += ')';
    dot_all_ = outer;
    return true;
  }

  void quantifiers(std::string& out, std::size_t from, bool& endless) {
    bool repeated = false;
    while (more()) {
      std::string what;
      bool interval = false, fixed = false;
      if (take("*")) {
        what = "*", endless = true;
      } else if (take("+")) {
        what = "+", endless = true;
      } else if (take("?")) {
        what = "?";
      } else if (auto const range = take_interval()) {
        auto const [low, high] = *range;
        interval = true, fixed = low == high;
        if (high < 0) endless = true;
        what = "{" + std::to_string(low) + (fixed ? "" : "," + (high < 0 ? std::string() : std::to_string(high))) + "}";
      } else {
        return;
      }
      // A repetition of a repetition is one of a group.
      if (repeated) out.insert(from, "(?:"), out += ')', endless = false;
      // {1,3}+ is no possessive interval here, and {2}? is (?:x{2})?.
      if (is("?") && !fixed)
        ++at_, what += '?', endless = false;
      else if (is("+") && !interval)
        ++at_, what += '+';
      out += what;
      repeated = true;
    }
  }

  std::optional<std::pair<int, int>> take_interval() {
    if (!more() || now() != '{') return std::nullopt;
    std::size_t i = at_ + 1;
    auto const number = [&]() -> int {
      int n = -1;
      for (; i < text_.size() && text_[i] >= '0' && text_[i] <= '9'; ++i) {
        n = std::max(n, 0) * 10 + (text_[i] - '0');
        if (n > 1000) fail("a repetition of more than 1000 times is not supported");
      }
      return n;
    };
    int low = number(), high = low;
    if (i < text_.size() && text_[i] == ',') {
      ++i;
      high = number();
      if (low < 0 && high < 0) return std::nullopt;
      low = std::max(low, 0);
      if (i < text_.size() && text_[i] == '}') {
        if (high >= 0 && high < low) fail("a repetition of at least " + std::to_string(low) + " and at most fewer times");
        at_ = i + 1;
        return std::pair(low, high);
      }
      return std::nullopt;
    }
    if (low < 0 || i >= text_.size() || text_[i] != '}') return std::nullopt;
    at_ = i + 1;
    return std::pair(low, low);
  }

  /// An escape outside of classes.
  bool escape(std::string& out, bool& set) {
    std::size_t const begin = at_;
    if (at_ + 1 >= text_.size()) fail("ends with a \"\\\"");
    char const c = text_[at_ + 1];
    std::string const word = "[" + std::string(of_words) + "]";
    switch (c) {
      case 'A':
      case 'z':
      case 'Z':
        at_ += 2;
        out += '\\', out += c;
        return false;
      case 'b':
        at_ += 2;
        out += "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
        return false;
      case 'B':
        at_ += 2;
        out += "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
        return false;
      default:
        break;
    }
    bool negated = false;
    set = true;
    if (auto const s = class_escape(negated)) {
      out += one_of(*s, negated);
      return true;
    }
    at_ = begin;
    out += code_point(escaped_character());
    return true;
  }

  /// \s, \p{L} and the like: its set, and whether it is negated. Nothing, and no move, for other escapes.
  std::optional<char_set> class_escape(bool& negated) {
    std::size_t const begin = at_;
    char const c = text_[++at_];
    ++at_;
    negated = c == 'S' || c == 'D' || c == 'W' || c == 'H' || c == 'P';
    switch (c) {
      case 's':
      case 'S':
        return char_set{std::string(spaces), ""};
      case 'd':
      case 'D':
        return char_set{"\\p{Nd}", ""};
      case 'w':
      case 'W':
        return char_set{std::string(of_words), ""};
      case 'h':
      case 'H':
        return char_set{std::string(hex_digits), ""};
      case 'p':
      case 'P': {
        if (!take("{")) fail("expected \"{\" behind \"\\p\"");
        if (take("^")) negated = !negated;
        std::size_t const end = text_.find('}', at_);
        if (end == text_.npos) fail("the name of a property without an end");
        auto s = property(text_.substr(at_, end - at_));
        at_ = end + 1;
        return s;
      }
      default:
        at_ = begin;
        return std::nullopt;
    }
  }

  char_set property(std::string_view name) const {
    std::string plain;
    for (char const c : name) {
      if (c == ' ' || c == '_' || c == '-') continue;
      bool const upper = c >= 'A' && c <= 'Z', letter = upper || (c >= 'a' && c <= 'z');
      if (!letter) fail("the property " + in_quotes(name) + " is not supported");
      plain += upper ? static_cast<char>(c + 'a' - 'A') : c;
    }
    for (auto const& [known, contents] : properties)
      if (plain == known) return {std::string(contents), ""};
    constexpr std::string_view categories[] = {"c",  "cc", "cf", "cn", "co", "l",  "ll", "lm", "lo", "lt", "lu", "m",
                                               "mc", "me", "mn", "n",  "nd", "nl", "no", "p",  "pc", "pd", "pe", "pf",
                                               "pi", "po", "ps", "s",  "sc", "sk", "sm", "so", "z",  "zl", "zp", "zs"};
    if (std::find(std::begin(categories), std::end(categories), plain) != std::end(categories)) {
      plain[0] = static_cast<char>(plain[0] - 'a' + 'A');
      return {"\\p{" + plain + "}", ""};
    }
    // A script; PCRE2 refuses the others.
    return {"\\p{sc:" + std::string(name) + "}", ""};
  }

  /// \n, \x{2581}, \. and the like.
  char32_t escaped_character() {
    ++at_;
    if (!more()) fail("ends with a \"\\\"");
    char const c = now();
    auto const hex = [&](std::size_t least, std::size_t most) -> char32_t {
      char32_t value = 0;
      std::size_t n = 0;
      for (; n < most && more(); ++n, ++at_) {
        char const d = now();
        int const digit = d >= '0' && d <= '9'   ? d - '0'
                          : d >= 'a' && d <= 'f' ? d - 'a' + 10
                          : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                                 : -1;
        if (digit < 0) break;
        value = value * 16 + static_cast<char32_t>(digit);
      }
      if (n < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) fail("expected the number of a character");
      return value;
    };
    switch (c) {
      case 't':
        return ++at_, U'\t';
      case 'n':
        return ++at_, U'\n';
      case 'r':
        return ++at_, U'\r';
      case 'f':
        return ++at_, U'\f';
      case 'v':
        return ++at_, U'\v';
      case 'a':
        return ++at_, U'\a';
      case 'e':
        return ++at_, U'\x1b';
      case 'u':
        ++at_;
        return hex(4, 4);
      case 'x': {
        ++at_;
        if (take("{")) {
          char32_t const value = hex(1, 8);
          if (!take("}")) fail("expected \"}\"");
          return value;
        }
        char32_t const value = hex(1, 2);
        if (value >= 0x80) fail("bytes that are no characters are not supported");
        return value;
      }
      default:
        break;
    }
    bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
    if (letter || digit) fail("\"\\" + std::string(1, c) + "\" is not supported");
    return take_character();
  }

  /// Behind "[": up to and with "]".
  std::string one_class() {
    bool negated = false;
    char_set const s = class_contents(negated, 0);
    return one_of(s, negated);
  }

  char_set class_contents(bool& negated, int depth) {
    if (depth > deepest_group) fail("classes are nested too deeply");
    negated = take("^");
    std::optional<char_set> both;  // what stands before "&&"
    char_set s;
    bool first = true;
    for (;; first = false) {
      if (!more()) fail("a \"[\" without a \"]\"");
      if (now() == ']' && !first) break;
      if (take("&&")) {
        meet(both, s);
        s = {};
        continue;
      }
      if (take("[:")) {
        bool const no = take("^");
        std::size_t const end = text_.find(":]", at_);
        if (end == text_.npos) fail("\"[:\" without \":]\"");
        char_set const named = property(text_.substr(at_, end - at_));
        at_ = end + 2;
        unite(s, no ? char_set{"", one_of(named, true)} : named);
        continue;
      }
      if (take("[")) {
        bool no = false;
        char_set const inner = class_contents(no, depth + 1);
        unite(s, no ? char_set{"", one_of(inner, true)} : inner);
        continue;
      }
      if (now() == '\\') {
        if (at_ + 1 >= text_.size()) fail("ends with a \"\\\"");
        bool no = false;
        if (auto const known = class_escape(no)) {
          unite(s, no ? char_set{"", one_of(*known, true)} : *known);
          continue;
        }
      }
      char32_t const low = class_character();
      char32_t high = low;
      // "a-z", but "-" at the end is itself.
      if (is("-") && at_ + 1 < text_.size() && text_[at_ + 1] != ']' && !is("-[") && !is("-&&")) {
        ++at_;
        if (now() == '\\' && at_ + 1 < text_.size() &&
            std::string_view("sSdDwWhHpP").find(text_[at_ + 1]) != std::string_view::npos)
          fail("a range that ends with a class is not supported");
        high = class_character();
        if (high < low) fail("a range whose end is before its begin");
      }
      s.contents += code_point(low);
      if (high != low) s.contents += "-" + code_point(high);
    }
    ++at_;
    if (both) {
      meet(both, s);
      return std::move(*both);
    }
    return s;
  }

  static void meet(std::optional<char_set>& both, char_set const& more) {
    if (!both)
      both = more;
    else
      both = char_set{"", "(?:(?=" + one_of(*both, false) + ")" + one_of(more, false) + ")"};
  }

  char32_t class_character() {
    if (now() != '\\') return take_character();
    if (at_ + 1 < text_.size() && text_[at_ + 1] == 'b') return at_ += 2, U'\b';
    return escaped_character();
  }

  std::string_view text_;
  bool guards_;
  refusal const& refuse_;
  std::size_t at_ = 0;
  bool dot_all_ = false;
};

struct free_code {
  void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
};
struct free_data {
  void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
};
struct free_context {
  void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
};
struct free_compile_context {
  void operator()(pcre2_compile_context* p) const noexcept { pcre2_compile_context_free(p); }
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<char const*>(text.data());
}

}  // namespace

std::string rewritten(std::string_view text, refusal const& refuse, bool guards) {
  if (text.size() > longest_pattern) refuse("a regular expression is longer than " + std::to_string(longest_pattern) + " bytes");
  return rewriter(text, guards, refuse).whole();
}

struct pattern::compiled {
  std::unique_ptr<pcre2_code, free_code> code;
  std::array<bool, 256> begins{};
};

pattern::pattern(std::string text, refusal const& refuse) : text_(std::move(text)) {
  std::unique_ptr<pcre2_compile_context, free_compile_context> const how(pcre2_compile_context_create(nullptr));
  if (!how) throw std::bad_alloc();
  pcre2_set_newline(how.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(how.get(), 250);
  auto const compile = [&](bool guards) {
    std::string const ours = rewritten(text_, refuse, guards);
    int error = 0;
    PCRE2_SIZE where = 0;
    std::unique_ptr<pcre2_code, free_code> code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(ours.data()), ours.size(),
                                                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                                              &error, &where, how.get()));
    if (!code) refuse("the regular expression " + in_quotes(text_) + " is not supported: " + message_of(error));
    return code;
  };
  auto made = std::make_unique<compiled>();
  made->code = compile(true);
  // Where the processor has none, matches are found without it.
  pcre2_jit_compile(made->code.get(), PCRE2_JIT_COMPLETE);
  // A guard hides with what a match begins.
  auto const plain = compile(false);
  std::uint8_t const* bits = nullptr;
  std::uint32_t empty = 1;
  pcre2_pattern_info(plain.get(), PCRE2_INFO_FIRSTBITMAP, &bits);
  pcre2_pattern_info(plain.get(), PCRE2_INFO_MATCHEMPTY, &empty);
  for (unsigned b = 0; b < 256; ++b) made->begins[b] = empty || (bits ? (bits[b / 8] >> (b % 8) & 1) != 0 : true);
  code_ = std::move(made);
}

pattern::~pattern() = default;
pattern::pattern(pattern&&) noexcept = default;
pattern& pattern::operator=(pattern&&) noexcept = default;

bool pattern::never_begins(unsigned char byte) const noexcept {
  return !code_->begins[byte];
}

struct pattern_search::state {
  std::unique_ptr<pcre2_match_data, free_data> data;
  std::unique_ptr<pcre2_match_context, free_context> limits;
};

pattern_search::pattern_search(pattern const& p) : of_(&p), state_(std::make_unique<state>()) {
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->limits.reset(pcre2_match_context_create(nullptr));
  if (!state_->data || !state_->limits) throw std::bad_alloc();
  pcre2_set_depth_limit(state_->limits.get(), 1'000'000);
  pcre2_set_heap_limit(state_->limits.get(), 256 * 1024);
}

pattern_search::~pattern_search() = default;
pattern_search::pattern_search(pattern_search&&) noexcept = default;
pattern_search& pattern_search::operator=(pattern_search&&) noexcept = default;

bool pattern_search::next(std::string_view text, std::size_t from) {
  auto const* const code = of_->code_->code.get();
  auto const* const subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  // A long run is gone through a few times by sound patterns, over and over by hostile ones.
  constexpr std::size_t base = 500'000, for_each_byte = 50, most = 2'000'000'000;
  pcre2_set_match_limit(state_->limits.get(), static_cast<std::uint32_t>(std::min(base + for_each_byte * text.size(), most)));
  int found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, state_->data.get(), state_->limits.get());
  // The interpreter keeps its state on the heap.
  if (found == PCRE2_ERROR_JIT_STACKLIMIT)
    found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state_->data.get(),
                        state_->limits.get());
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0)
    throw data_error("the tokenizer's regular expression " + in_quotes(of_->text()) +
                     " can't be followed on this text, at byte " + std::to_string(from) + " of " + std::to_string(text.size()) +
                     ": " + message_of(found));
  PCRE2_SIZE const* const ends = pcre2_get_ovector_pointer(state_->data.get());
  begin_ = ends[0], end_ = ends[1];
  return true;
}

}  // namespace wayfarer::tokenizing
