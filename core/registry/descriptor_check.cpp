#include "registry/descriptor_check.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/version.hpp>

#include "registry/registry.hpp"

namespace wayfarer::host {
namespace {

constexpr std::size_t longest_name = 64, longest_line = 1000, longest_list = 4096;
constexpr std::uint32_t most_entries = 256;
/// The part whose place never changes, in any major version: magic, size, major, minor.
constexpr std::size_t frozen_bytes = offsetof(plugin_descriptor, kind);
/// What a descriptor of this major version has at least.
constexpr std::size_t least_bytes = sizeof(plugin_descriptor);
/// What it had before it named the types that the plugin was compiled with.
constexpr std::size_t bytes_without_layouts = offsetof(plugin_descriptor, layouts) + sizeof(std::uint64_t);

std::string sdk(std::uint32_t major, std::uint32_t minor) {
  return "SDK " + std::to_string(major) + "." + std::to_string(minor);
}
std::string host_sdk() {
  return sdk(WAYFARER_SDK_MAJOR, WAYFARER_SDK_MINOR);
}

std::string number(double v) {
  char text[32];
  auto const [end, error] = std::to_chars(text, text + sizeof text, v);
  return {text, end};
}

bool is_word(std::string_view s) noexcept {
  return !s.empty() && s.size() <= longest_name && s[0] >= 'a' && s[0] <= 'z' &&
         std::all_of(s.begin(), s.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (;;) {
    std::size_t const at = text.find_first_of(separators);
    parts.push_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

/// "train.epochs": words joined by dots.
bool is_dotted(std::string_view s) {
  auto const words = split(s, ".");
  return s.size() <= longest_name && std::all_of(words.begin(), words.end(), is_word);
}

class checker {
 public:
  checker(library_memory const& memory, std::filesystem::path const& library) : memory_(memory), library_(library) {}

  plugin_descriptor const* check(void const* at, std::string_view id) {
    auto const& d = head(at);
    check_text(d.build_id, "the build id", longest_line);
    auto const own = check_text(d.id, "the id", longest_line);
    if (!is_plugin_id(own))
      broken("its id " + in_quotes(own) + " is not a plugin id",
             "use a lower-case letter, then lower-case letters, digits and '_', at most 64");
    if (own != id)
      refuse("holds the plugin '" + std::string(own) + "', but its file name says '" + std::string(id) +
             "'; rename the file to wayfarer_" + std::string(own) + ".so");
    if (name_of(d.kind).empty())
      broken("its kind " + std::to_string(static_cast<std::uint32_t>(d.kind)) + " is none of source, model, probe, metric",
             "rebuild it against this host's SDK");
    if (check_text(d.version, "the version", longest_name).empty()) broken("its version is empty", "give one, such as 1.0.0");
    check_text(d.summary, "the summary", longest_line);
    if (!memory_.executable(reinterpret_cast<void const*>(d.create))) broken("its constructor is not in the library");
    auto const params = table(d.params, d.param_count, "parameters");
    for (auto const& p : params) check_param(p);
    auto const facts = table(d.facts, d.param_count, "facts");
    for (std::size_t i = 0; i < facts.size(); ++i) check_fact(facts[i], params[i]);
    for (auto const& p : table(d.ports, d.port_count, "ports")) check_port(p);
    check_groups();
    check_host_keys(host_keys_of(d.kind, {d.ports, d.port_count}));
    return &d;
  }

 private:
  [[noreturn]] void refuse(std::string const& why) const { throw plugin_error(library_.string() + ": " + why); }
  [[noreturn]] void broken(std::string const& why,
                           std::string const& advice = "write it with a WAYFARER_* macro and rebuild it") const {
    refuse("broken descriptor: " + why + " (built for " + built_ + ", host has " + host_sdk() + "); " + advice);
  }

  /// Magic, versions, size and tag: afterwards the fields can be read.
  plugin_descriptor const& head(void const* at) {
    if (!at)
      refuse("wayfarer_plugin() returns no descriptor; end one of its files with a WAYFARER_* macro of this host's " +
             host_sdk());
    std::size_t const there = memory_.readable_from(at);
    if (there == 0 || reinterpret_cast<std::uintptr_t>(at) % alignof(plugin_descriptor) != 0)
      refuse("wayfarer_plugin() returns a pointer that is not into the library; rebuild it against this host's " + host_sdk());
    auto const& d = *static_cast<plugin_descriptor const*>(at);
    if (there < sizeof d.magic || std::memcmp(d.magic, descriptor_magic, sizeof d.magic) != 0)
      refuse(
          "wrong magic: its descriptor does not begin with \"wayfarer-plugin\", so it is not a plugin or a version without "
          "number; "
          "rebuild it "
          "against this host's " +
          host_sdk());
    if (there < frozen_bytes || d.size < frozen_bytes || d.size > there || d.size % 8 != 0)
      truncated(there < frozen_bytes ? 0 : d.size, "");
    built_ = sdk(d.sdk_major, d.sdk_minor);
    if (d.sdk_major != WAYFARER_SDK_MAJOR)
      refuse("built for " + built_ + ", but this host has " + host_sdk() +
             ", and the major versions must be equal; rebuild it against this host's SDK "
             "or use a host with SDK " +
             std::to_string(d.sdk_major));
    if (d.size == bytes_without_layouts)
      refuse("it has no list of the types that it was compiled with (built for " + built_ + ", host has " + host_sdk() +
             "), so the host can't tell whether it would read right numbers; build it again with the headers of this host");
    if (d.size < least_bytes) truncated(d.size, " of " + built_);
    std::uint64_t tail = 0;
    std::memcpy(&tail, static_cast<std::byte const*>(at) + d.size - sizeof tail, sizeof tail);
    if (tail != descriptor_tail) truncated(d.size, " of " + built_ + " without their end mark");
    if (d.sdk_minor > WAYFARER_SDK_MINOR)
      refuse("built for " + built_ + ", which is newer than this host's " + host_sdk() +
             "; update the host or rebuild the plugin against its SDK");
    if (d.size > sizeof d) broken("it is longer than any of its version", "rebuild it against this host's SDK");
    auto const tag = check_text(d.abi_tag, "the ABI tag", longest_line);
    if (tag != WAYFARER_ABI_TAG)
      refuse("built for the C++ interface '" + std::string(tag) + "', but this host is built for '" WAYFARER_ABI_TAG "' (" +
             built_ + ", host has " + host_sdk() + "); rebuild it with the host's compiler and standard library");
    return d;
  }

  [[noreturn]] void truncated(std::uint32_t bytes, std::string const& what) const {
    refuse("truncated descriptor: " + std::to_string(bytes) + " bytes" + what + ", where this host's " + host_sdk() + " needs " +
           std::to_string(least_bytes) + "; rebuild it against this host's SDK");
  }

  /// The text that a pointer leads to, if it is in the library, ends, and can be printed on one line.
  std::string_view check_text(char const* text, std::string const& what, std::size_t most, bool list = false) const {
    if (!text) broken(what + " is a null pointer");
    std::size_t const there = memory_.readable_from(text);
    if (there == 0) broken(what + " is not in the library");
    auto const* end = static_cast<char const*>(std::memchr(text, 0, std::min(there, most + 1)));
    if (!end)
      broken(there > most ? what + " is longer than " + std::to_string(most) + " bytes"
                          : what + " does not end within the library");
    std::string_view const s(text, end);
    bool const plain = std::all_of(s.begin(), s.end(), [&](char c) {
      auto const u = static_cast<unsigned char>(c);
      return (u >= 0x20 && u != 0x7f) || (list && c == '\x1f');
    });
    // U+0080..U+009F are control characters too: terminals obey some of them.
    bool const control = std::adjacent_find(s.begin(), s.end(), [](char a, char b) {
                           return a == '\xc2' && static_cast<unsigned char>(b) < 0xa0;
                         }) != s.end();
    if (!plain || control || !is_utf8(s)) broken(what + " is not one line of plain UTF-8 text: " + in_quotes(s));
    return s;
  }

  template <class T>
  std::span<T const> table(T const* first, std::uint32_t count, std::string const& what) const {
    if (count == 0) return {};
    if (count > most_entries)
      broken(std::to_string(count) + " " + what + ", where at most " + std::to_string(most_entries) + " are allowed");
    if (!first || reinterpret_cast<std::uintptr_t>(first) % alignof(T) != 0 || memory_.readable_from(first) < count * sizeof(T))
      broken("its table of " + what + " is not in the library");
    return {first, count};
  }

  /// Returns "the parameter 'x'", for messages.
  std::string check_name(char const* name, std::string const& kind) {
    auto const s = check_text(name, "the name of a " + kind, longest_line);
    if (!is_dotted(s))
      broken("the " + kind + " name " + in_quotes(s) + " is not well formed",
             "use lower-case words of letters, digits and '_', joined by dots, at most 64 characters");
    if (!names_.emplace(s).second) broken("two of its parameters and ports are called '" + std::string(s) + "'", "rename one");
    return "the " + kind + " '" + std::string(s) + "'";
  }

  void check_param(param_descriptor const& p) {
    auto const what = check_name(p.name, "parameter");
    check_text(p.doc, "the description of " + what, longest_line);
    check_text(p.unit, "the unit of " + what, longest_name);
    auto const given = check_text(p.default_text, "the default of " + what, longest_list, true);
    auto const choices = check_text(p.choices, "the list of choices of " + what, longest_list);
    if (name_of(p.type).empty())
      broken(what + " has the unknown type " + std::to_string(static_cast<std::uint32_t>(p.type)),
             "rebuild it against this host's SDK");
    if (p.required > 1) broken(what + " is neither required nor not");
    if (!(p.minimum <= p.maximum))
      broken(what + " allows no value: its range is " + number(p.minimum) + " to " + number(p.maximum), "correct its range");
    bool const words = p.type == param_type::text || p.type == param_type::text_list;
    if (!choices.empty() && !words) broken(what + " has choices, which only text can have", "use at_least and at_most");
    auto const known = choices.empty() ? std::vector<std::string_view>() : split(choices, "|");
    for (auto const& c : known)
      if (c.empty() || std::count(known.begin(), known.end(), c) > 1)
        broken(what + " has an empty or repeated choice: " + in_quotes(choices), "correct one_of");
    if (p.required != 1) check_default(p, what, given, known);
  }

  void check_default(param_descriptor const& p, std::string const& what, std::string_view given,
                     std::vector<std::string_view> const& known) const {
    auto const check_choice = [&](std::string_view word) {
      if (!known.empty() && std::find(known.begin(), known.end(), word) == known.end())
        broken("the default " + in_quotes(word) + " of " + what + " is none of its choices, " + in_quotes(p.choices),
               "add it to one_of or change it");
    };
    switch (p.type) {
      case param_type::boolean:
        if (p.default_number != 0 && p.default_number != 1)
          broken("the default " + number(p.default_number) + " of " + what + " is neither true nor false");
        return;
      case param_type::integer:
        return check_number(p, what, p.default_number, true);
      case param_type::real:
        return check_number(p, what, p.default_number, false);
      case param_type::path:
        return;
      case param_type::text:
        return check_choice(given);
      case param_type::text_list:
        if (given.empty()) return;
        for (auto const& word : split(given, "\x1f")) check_choice(word);
        return;
      case param_type::integer_list:
      case param_type::real_list:
        for (auto const& part : split(given, " \x1f")) {
          if (part.empty()) continue;
          double v = 0;
          auto const [end, error] = std::from_chars(part.data(), part.data() + part.size(), v);
          if (error != std::errc() || end != part.data() + part.size())
            broken("the default of " + what + " has " + in_quotes(part) + " among its numbers", "separate numbers by spaces");
          check_number(p, what, v, p.type == param_type::integer_list);
        }
        return;
    }
  }

  /// Of a default.
  void check_number(param_descriptor const& p, std::string const& what, double v, bool integer) const {
    // Integers are held in a double: beyond 2^53 they would change silently.
    if (!std::isfinite(v) || (integer && (v != std::trunc(v) || std::abs(v) > 0x1p53)))
      broken("the default " + number(v) + " of " + what + " is not " + (integer ? "an integer" : "a number"), "change it");
    if (v < p.minimum || v > p.maximum)
      broken("the default " + number(v) + " of " + what + " is outside " + number(p.minimum) + " to " + number(p.maximum),
             "change one of them");
  }

  void check_fact(char const* fact, param_descriptor const& p) {
    std::string const what = "the fact of the parameter '" + std::string(p.name) + "'";
    auto const name = check_text(fact, what, longest_line);
    if (name.empty()) return;
    if (!is_word(name))
      broken(what + ", " + in_quotes(name) + ", is not well formed",
             "use a lower-case word of letters, digits and '_', at most 64 characters");
    if (p.type == param_type::path) broken(what + " would be a path, and no source can know those", "remove it");
    if (!facts_.insert(name).second)
      broken("two of its parameters are bound to the fact '" + std::string(name) + "'", "keep one");
  }

  void check_port(port_descriptor const& p) {
    auto const what = check_name(p.name, "port");
    check_text(p.doc, "the description of " + what, longest_line);
    if (name_of(p.kind).empty())
      broken(what + " has the unknown kind " + std::to_string(static_cast<std::uint32_t>(p.kind)),
             "rebuild it against this host's SDK");
    if (p.optional > 1) broken(what + " is neither optional nor not");
  }

  /// In a pipeline file "train" can't be both a value and the group that holds "train.epochs".
  void check_groups() const {
    for (auto const& name : names_)
      for (std::size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1))
        if (names_.contains(name.substr(0, dot)))
          broken(
              "'" + std::string(name.substr(0, dot)) + "' is both a name of its own and the group of '" + std::string(name) + "'",
              "rename one");
  }

  void check_host_keys(std::vector<std::string> const& taken) const {
    for (auto const& name : names_)
      if (auto const key = name.substr(0, name.find('.')); std::find(taken.begin(), taken.end(), key) != taken.end())
        broken("'" + std::string(name) + "' is taken: in a pipeline '" + std::string(key) + "' is a key of the host's own",
               "rename it");
  }

  library_memory const& memory_;
  std::filesystem::path const& library_;
  std::string built_;
  std::set<std::string_view> names_, facts_;
};

}  // namespace

library_memory library_memory::of(void* handle) {
  struct search {
    link_map const* map = nullptr;
    std::vector<range> readable, executable;
  } found;
  link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || !map) return {{}, {}};
  found.map = map;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        auto& f = *static_cast<search*>(to);
        auto const at = [&](ElfW(Addr) address) { return reinterpret_cast<std::byte const*>(info->dlpi_addr + address); };
        std::span const segments(info->dlpi_phdr, info->dlpi_phnum);
        bool const ours = std::any_of(segments.begin(), segments.end(), [&](ElfW(Phdr) const& s) {
          return s.p_type == PT_DYNAMIC && at(s.p_vaddr) == reinterpret_cast<std::byte const*>(f.map->l_ld);
        });
        if (!ours) return 0;
        for (auto const& s : segments) {
          if (s.p_type != PT_LOAD) continue;
          if (s.p_flags & PF_R) f.readable.push_back({at(s.p_vaddr), at(s.p_vaddr + s.p_memsz)});
          if (s.p_flags & PF_X) f.executable.push_back({at(s.p_vaddr), at(s.p_vaddr + s.p_memsz)});
        }
        return 1;
      },
      &found);
  return {std::move(found.readable), std::move(found.executable)};
}

std::size_t library_memory::readable_from(void const* p) const noexcept {
  auto const* at = static_cast<std::byte const*>(p);
  for (auto const& r : readable_)
    if (std::less_equal<>()(r.first, at) && std::less<>()(at, r.last)) return static_cast<std::size_t>(r.last - at);
  return 0;
}

bool library_memory::executable(void const* p) const noexcept {
  auto const* at = static_cast<std::byte const*>(p);
  return std::any_of(executable_.begin(), executable_.end(),
                     [&](range const& r) { return std::less_equal<>()(r.first, at) && std::less<>()(at, r.last); });
}

std::vector<std::string> host_keys_of(plugin_kind kind, std::span<port_descriptor const> ports) {
  auto const has = [&](port_kind k) {
    return std::any_of(ports.begin(), ports.end(), [&](port_descriptor const& p) { return p.kind == k; });
  };
  std::vector<std::string> keys;
  if (kind == plugin_kind::probe && has(port_kind::source)) {
    keys = {"items", "max_tokens", "block"};
    if (has(port_kind::model)) keys.insert(keys.end(), {"edits", "precision"});
  }
  if (kind == plugin_kind::probe || kind == plugin_kind::metric) keys.emplace_back("sweep");
  return keys;
}

bool is_plugin_id(std::string_view id) noexcept {
  return is_word(id);
}

plugin_descriptor const* check_descriptor(void const* descriptor, library_memory const& memory,
                                          std::filesystem::path const& library, std::string_view id) {
  return checker(memory, library).check(descriptor, id);
}

}  // namespace wayfarer::host
