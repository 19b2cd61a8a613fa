// Loads one library: checks the file, then the dynamic loader's result, then the descriptor, then the lists of types.
// Each has its own messages.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include <wayfarer/error.hpp>
#include <wayfarer/version.hpp>

#include "registry/descriptor_check.hpp"
#include "registry/layout_check.hpp"
#include "registry/library_file.hpp"
#include "registry/registry.hpp"

namespace wayfarer::host {
namespace {

namespace fs = std::filesystem;

/// A library that is in the process for good. Its descriptor stays open: the dynamic loader remembers the name /proc/self/fd/N
/// and would take the next file with that number for this one.
struct resident {
  dev_t device;
  ino_t inode;
  boost::dll::shared_library library;
};

/// Never destroyed, so that nothing is ever unloaded: a task or a thread-local of a plugin may outlive main.
std::vector<resident>& residents() {
  static auto& all = *new std::vector<resident>;
  return all;
}

[[noreturn]] void refuse(fs::path const& library, std::string const& why) {
  throw plugin_error(library.string() + ": " + why);
}

std::string host_sdk() {
  return "SDK " + std::to_string(WAYFARER_SDK_MAJOR) + "." + std::to_string(WAYFARER_SDK_MINOR);
}

/// The loader's own words, with the library's name where it says /proc/self/fd/N.
std::string loader_message(std::string const& link, fs::path const& library) {
  char const* const said = ::dlerror();
  std::string text = said ? said : "no reason given";
  for (std::size_t at; (at = text.find(link)) != text.npos;) text.replace(at, link.size(), library.filename().string());
  return text;
}

void say(int to, std::string_view text) noexcept {
  while (!text.empty()) {
    ssize_t const n = ::write(to, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

/// The child's end of the pipe, for its terminate handler.
int tell_parent = -1;

/// The child: loads the library, says "=" if it is still alive then, and what was thrown if it is not. Nothing may be thrown out
/// of it: what was compiled around it would catch that, as if it were the parent.
[[noreturn]] void load_and_exit(char const* link) noexcept {
  rlimit const no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(SIGALRM, SIG_DFL);
  ::alarm(60);
  std::set_terminate([] {
    try {
      if (std::current_exception()) throw;
    } catch (std::exception const& e) {
      say(tell_parent, std::string("threw while its static objects were made: ") + e.what());
    } catch (...) {
      say(tell_parent, "threw while its static objects were made");
    }
    ::_exit(1);
  });
  // It is declared to throw nothing, which clang believes; a static object's constructor throws through it all the same.
  void* (*const volatile load)(char const*, int) = &::dlopen;
  load(link, RTLD_NOW | RTLD_LOCAL);
  say(tell_parent, "=");
  ::_exit(0);
}

/// An exception or a crash in the constructor of a static object, or in the dynamic loader over a damaged file, ends the process
/// it happens in. So it happens in a child first. Closes `file` if it refuses.
void try_in_child(fs::path const& library, int file, std::string const& link) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    ::close(file);
    throw resource_error("can't make a pipe to try " + library.string() + ": " + std::generic_category().message(errno));
  }
  tell_parent = ends[1];
  pid_t const child = ::fork();
  if (child == 0) load_and_exit(link.c_str());
  int const failed = errno;
  ::close(ends[1]);
  std::string said;
  char some[512];
  while (child > 0) {
    ssize_t const n = ::read(ends[0], some, sizeof some);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    said.append(some, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  if (child < 0) {
    ::close(file);
    throw resource_error("can't start a process to try " + library.string() + ": " + std::generic_category().message(failed));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (said == "=") return;
  ::close(file);
  if (said.empty()) {
    said = "ended the process while it was loaded";
    if (WIFSIGNALED(status)) said += std::string(" (") + ::strsignal(WTERMSIG(status)) + ")";
  }
  refuse(library, "can't be loaded: in a process of its own it " + said +
                      "; make what needs making in the plugin's constructor, or build or copy the file again");
}

boost::dll::shared_library& bring_in(fs::path const& library) {
  int const file = open_library(library);
  struct stat status {};
  ::fstat(file, &status);
  for (auto& r : residents())
    if (r.device == status.st_dev && r.inode == status.st_ino) {
      ::close(file);
      return r.library;
    }
  std::string const link = "/proc/self/fd/" + std::to_string(file);
  boost::dll::shared_library loaded;
  try_in_child(library, file, link);
  boost::dll::fs::error_code code;
  ::dlerror();
  // Boost would choose lazy binding by itself, and an undefined symbol would then end the process in the middle of a run.
  loaded.load(link, code, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  if (code) {
    std::string const why = loader_message(link, library);
    ::close(file);
    refuse(library, "can't be loaded: " + why + "; rebuild it against this host's " + host_sdk() +
                        ", with whatever it links to in a system folder or an absolute RUNPATH");
  }
  return residents().emplace_back(resident{status.st_dev, status.st_ino, std::move(loaded)}).library;
}

}  // namespace

plugin load_plugin(fs::path const& library) {
  std::string const name = library.filename().string();
  std::string_view id = name;
  if (!id.starts_with("wayfarer_") || !id.ends_with(".so") || !is_plugin_id(id.substr(9, id.size() < 12 ? 0 : id.size() - 12)))
    refuse(library, "a plugin library is called wayfarer_ID.so, with an id of lower-case letters, digits and '_'; rename it");
  id = id.substr(9, id.size() - 12);

  auto& loaded = bring_in(library);
  auto const memory = library_memory::of(loaded.native());
  using function = plugin_descriptor const*();
  function* const symbol = loaded.has(descriptor_symbol) ? &loaded.get<function>(descriptor_symbol) : nullptr;
  // A library that the plugin links to may have the symbol; that does not make this one a plugin.
  if (!memory.executable(reinterpret_cast<void const*>(symbol)))
    refuse(library,
           "no function wayfarer_plugin: not a wayfarer plugin; end one of its files with WAYFARER_SOURCE, _MODEL, _PROBE or "
           "_METRIC of this host's " +
               host_sdk());
  void const* descriptor = nullptr;
  try {
    descriptor = symbol();
  } catch (...) {
    refuse(library,
           "wayfarer_plugin() threw instead of returning a descriptor; rebuild it with a WAYFARER_* macro of this host's " +
               host_sdk());
  }
  auto const* const checked = check_descriptor(descriptor, memory, library, id);
  check_layouts(*checked, memory, library);
  return {checked, library};
}

}  // namespace wayfarer::host
