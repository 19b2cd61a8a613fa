#include "registry/layout_check.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include <wayfarer/error.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/version.hpp>

#include "registry/descriptor_check.hpp"
#include "registry/registry.hpp"

namespace wayfarer::host {
namespace {

constexpr std::size_t most_types = 1 << 16, longest_name = 256;
constexpr std::uint32_t most_members = 1024;

using member_list = std::span<member_layout const>;

member_list members_of(type_layout const& t) {
  return {t.members, t.count};
}

member_layout const* find(member_list all, std::string_view name) {
  auto const at = std::find_if(all.begin(), all.end(), [&](member_layout const& m) { return m.name == name; });
  return at == all.end() ? nullptr : &*at;
}

std::string_view word_for(layout_kind k) {
  return k == layout_kind::fields ? "field" : k == layout_kind::functions ? "virtual function" : "enumerator";
}

std::string member_text(layout_kind k, char const* name) {
  return "the " + std::string(word_for(k)) + " '" + name + "'";
}

/// A pointer to a virtual function, all of it: no two places in a table have the same. Null for what has none.
std::string place(void const* function) {
  std::string bytes(2 * sizeof(void*), '\0');
  if (function) std::memcpy(bytes.data(), function, bytes.size());
  return bytes;
}

/// What is different in the first member that is; "" if they are alike.
std::string member_difference(type_layout const& plugin, type_layout const& host) {
  auto const k = plugin.kind;
  for (auto const& mine : members_of(plugin)) {
    auto const* theirs = find(members_of(host), mine.name);
    if (!theirs) return "it has " + member_text(k, mine.name) + ", which the host's SDK lacks";
  }
  if (k != layout_kind::enumerators)
    for (auto const& theirs : members_of(host))
      if (!find(members_of(plugin), theirs.name)) return "it lacks " + member_text(k, theirs.name) + ", which the host's SDK has";
  for (auto const& mine : members_of(plugin)) {
    auto const& theirs = *find(members_of(host), mine.name);
    std::string const what = member_text(k, mine.name);
    if (k == layout_kind::fields && mine.offset != theirs.offset)
      return what + " is at byte " + std::to_string(mine.offset) + " there, and at byte " + std::to_string(theirs.offset) +
             " in the host's SDK";
    if (k == layout_kind::enumerators && mine.offset != theirs.offset)
      return what + " is " + std::to_string(mine.offset) + " there, and " + std::to_string(theirs.offset) + " in the host's SDK";
    if (k == layout_kind::functions && place(mine.function) != place(theirs.function))
      return what + " is in another place than in the host's SDK";
    if (mine.size != theirs.size)
      return what + " has " + std::to_string(mine.size) + " bytes there, and " + std::to_string(theirs.size) +
             " in the host's SDK";
    if (mine.mark != theirs.mark)
      return what + (k == layout_kind::functions ? " has other parameters or another result" : " has another type") +
             " than in the host's SDK";
  }
  return {};
}

std::string difference(type_layout const& plugin, type_layout const& host) {
  if (plugin.kind != host.kind)
    return "it lists each " + std::string(word_for(plugin.kind)) + ", the host's SDK each " + std::string(word_for(host.kind));
  if (auto text = member_difference(plugin, host); !text.empty()) return text;
  if (place(plugin.after) != place(host.after)) return "it has another number of virtual functions than in the host's SDK";
  if (plugin.size != host.size || plugin.alignment != host.alignment)
    return "it has " + std::to_string(plugin.size) + " bytes, aligned to " + std::to_string(plugin.alignment) + ", and " +
           std::to_string(host.size) + ", aligned to " + std::to_string(host.alignment) + ", in the host's SDK";
  return {};
}

/// The lists as they are in the library's memory, once all of it is known to be there.
class reader {
 public:
  reader(plugin_descriptor const& d, library_memory const& memory, std::filesystem::path const& library)
      : d_(d), memory_(memory), library_(library) {}

  std::span<type_layout const* const> read() const {
    if (!d_.layouts || d_.layouts == d_.layouts_end)
      refuse(
          "its list of the types that it was compiled with is empty, so the host can't tell whether it would read right numbers");
    auto const first = reinterpret_cast<std::uintptr_t>(d_.layouts), last = reinterpret_cast<std::uintptr_t>(d_.layouts_end);
    if (last < first || (last - first) % sizeof(void*) != 0 || (last - first) / sizeof(void*) > most_types)
      refuse("its list of types does not end");
    std::span const all(d_.layouts, (last - first) / sizeof(void*));
    need(all.data(), all.size(), "its list of types");
    for (auto const* t : all) check(t);
    return all;
  }

  [[noreturn]] void refuse(std::string const& why) const {
    std::string const host = std::to_string(WAYFARER_SDK_MAJOR) + "." + std::to_string(WAYFARER_SDK_MINOR);
    throw plugin_error(library_.string() + ": " + why + " (built for SDK " + std::to_string(d_.sdk_major) + "." +
                       std::to_string(d_.sdk_minor) + ", host has SDK " + host +
                       "); build it again with the headers of this host, SDK " + host + " of Wayfarer " WAYFARER_VERSION);
  }

 private:
  void check(type_layout const* t) const {
    need(t, 1, "an entry of its list of types");
    check_text(t->header, "the header of a type");
    check_text(t->name, "the name of a type");
    std::string const which = "the list of '" + std::string(t->name) + "'";
    if (t->kind != layout_kind::fields && t->kind != layout_kind::functions && t->kind != layout_kind::enumerators)
      refuse(which + " is of an unknown kind");
    if (t->count > most_members) refuse(which + " does not end");
    need(t->members, t->count, which);
    for (auto const& m : members_of(*t)) {
      check_text(m.name, "a name in " + which);
      if (t->kind == layout_kind::functions) check_function(m.function, which);
    }
    if (t->kind == layout_kind::functions) check_function(t->after, which);
  }
  void check_function(void const* at, std::string const& which) const {
    if (memory_.readable_from(at) < 2 * sizeof(void*)) refuse(which + " is not in the library");
  }
  void check_text(char const* text, std::string const& what) const {
    std::size_t const there = std::min(memory_.readable_from(text), longest_name);
    auto const* end = there == 0 ? nullptr : static_cast<char const*>(std::memchr(text, 0, there));
    if (!end || !std::all_of(text, end, [](char c) { return c > ' ' && c < '\x7f'; }))
      refuse(what + " is no short plain text in the library");
  }
  template <class T>
  void need(T const* first, std::size_t count, std::string const& what) const {
    if (reinterpret_cast<std::uintptr_t>(first) % alignof(T) != 0 || memory_.readable_from(first) < count * sizeof(T))
      refuse(what + " is not in the library");
  }

  plugin_descriptor const& d_;
  library_memory const& memory_;
  std::filesystem::path const& library_;
};

}  // namespace

std::vector<layout_difference> layout_differences(std::span<type_layout const* const> plugin,
                                                  std::span<type_layout const* const> host) {
  std::map<std::string_view, type_layout const*> known;
  for (auto const* t : host) known.emplace(t->name, t);
  std::vector<layout_difference> all;
  std::set<type_layout const*> seen;
  for (auto const* t : plugin) {
    if (!seen.insert(t).second) continue;
    auto const at = known.find(t->name);
    std::string what = at == known.end() ? "the host's SDK has no such type" : difference(*t, *at->second);
    if (!what.empty()) all.push_back({t->name, t->header, std::move(what)});
  }
  return all;
}

void check_layouts(plugin_descriptor const& d, library_memory const& memory, std::filesystem::path const& library) {
  reader const lists(d, memory, library);
  auto const all = lists.read();
  auto const differences = layout_differences(all, sdk_layouts());
  if (!differences.empty()) {
    auto const& first = differences.front();
    std::string others;
    for (std::size_t i = 1; i < differences.size() && i < 6; ++i) others += (i == 1 ? "" : ", ") + differences[i].type;
    if (differences.size() > 6) others += ", ...";
    lists.refuse("compiled with another '" + first.type + "' (wayfarer/" + first.header + ") than the host: " + first.what +
                 (others.empty() ? "" : "; different too: " + others));
  }
  auto const interface = name_of(d.kind);
  if (std::none_of(all.begin(), all.end(), [&](type_layout const* t) { return t->name == interface; }))
    lists.refuse("its list of types lacks '" + std::string(interface) +
                 "', which it must have been compiled with; the linker must keep the section wayfarer_layouts");
}

}  // namespace wayfarer::host
