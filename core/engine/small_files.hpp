// Short files through which processes that share a folder know of each other: which machine and process wrote one, and what
// stands in it. For work_folder and shared_store.
//
// What another process is writing, or has removed, reads as nothing. Free functions; any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/json.hpp>

namespace wayfarer::host {

inline constexpr std::size_t longest_small_file = std::size_t{1} << 16;

/// "" for what is not there, and for links. `folder`: an open one that a relative name starts from.
std::string small_text(std::filesystem::path const& file);
std::string small_text_at(int folder, std::string const& name);
/// As JSON; nothing for what is none: half written, or no file of ours.
std::optional<json_value> small_json(std::filesystem::path const& file);
std::optional<json_value> small_json_of(std::string const& text, std::string const& name);
/// Members of an object; "" and 0 for what is not there.
std::string text_in(json_value const&, std::string_view key);
std::size_t count_in(json_value const&, std::string_view key);

/// HOST-PID-RANDOM: a new name for this process. Never a path.
std::string new_process_name();
bool is_process_name(std::string_view name) noexcept;
/// Says in an object what tells this process from any other: pid, start, machine.
void add_process(json_value& facts);
/// Whether what wrote these facts ran on this machine.
bool is_of_this_machine(json_value const& facts);
/// Whether it has surely ended. Of another machine's nothing is known.
bool surely_dead(json_value const& facts);

/// Lower-case hexadecimal digits alone, at least one.
bool is_hex(std::string_view text) noexcept;
/// The names in a folder, in no order; none if it can't be read.
std::vector<std::string> names_in(std::filesystem::path const& folder);

}  // namespace wayfarer::host
