// The files of a run: what it reads, and where it may write. One rule for the program and for plugins that write files.
//
// An output never takes the place of something that the run reads or of anything but a regular file, and of a file that is not
// known to be an earlier output only when the user says so. Names don't count, files do: links of both kinds lead to the same
// one. The program says what a run reads before it makes a plugin; a plugin asks in its constructor, so that `wayfarer check`
// says what `run` would. Any function may be called from any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// What makes two names one file.
struct file_identity {
  std::uint64_t device = 0, inode = 0;
  friend auto operator<=>(file_identity const&, file_identity const&) = default;
};
/// Links are followed. Absent if there is nothing under that name.
WAYFARER_API std::optional<file_identity> identity_of(std::string const& path);

// ---- what is read ----

/// A run begins: names the files and folders that it reads, in place of those that were named before. For the program.
WAYFARER_API void provide_run_inputs(std::vector<std::string> paths);
struct run_input {
  std::string name;        ///< as given to the run
  bool in_folder = false;  ///< it lies in a folder that was named
};
/// The input that is this very file or folder.
WAYFARER_API std::optional<run_input> run_input_at(std::string const& path);

/// Whether the file was read since the run began: `mapped_file`, `read_text`, `read_blocks` and `note_read` remember it;
/// `sha256_file` does not.
WAYFARER_API bool was_read(file_identity const&);
/// For a file that a child process reads.
WAYFARER_API void note_read(std::string const& path);

// ---- where one may write ----

struct output_rule {
  std::string option;  ///< what names the output, for messages: "--out"
  std::string wanted;  ///< what it writes: "a result of Wayfarer"
  std::string force;   ///< what the user may say to replace other files: "--force"
  bool forced = false;
  std::function<bool(std::string const& path)> is_own;  ///< whether an existing file is an earlier output; empty: never
};

struct output_place {
  std::string given;      ///< as the user called it
  std::string path;       ///< where links lead
  bool replaces = false;  ///< there is a file already
};

/// Where writing to `path` ends up: links are followed, also one that leads to nothing yet. Throws usage_error for a loop.
WAYFARER_API std::string link_target(std::string const& path);

/// Gives the file behind a descriptor the mode, and where that is allowed the owner, of the file whose place it will take.
/// Nothing happens if there is none.
WAYFARER_API void take_mode_of(std::string const& replaced, int descriptor) noexcept;

/// Where a file that is called `path` is to be written. Throws usage_error, saying what to do: for no name, a folder, a folder
/// that is missing, an input of the run, what is no regular file, and, unless forced, a file that may not be written or is none
/// of ours.
WAYFARER_API output_place check_output(std::string const& path, output_rule const&);

WAYFARER_LAYOUT(file_identity, device, inode);
WAYFARER_LAYOUT(run_input, name, in_folder);
WAYFARER_LAYOUT(output_rule, option, wanted, force, forced, is_own);
WAYFARER_LAYOUT(output_place, given, path, replaces);

}  // namespace wayfarer
