// Finds plugin libraries, checks them before anything C++ of theirs is called, and makes plugin objects.
//
// Used by the main thread. A library `wayfarer_ID.so` holds the plugin ID; it is looked for in the search folders in order, the
// first that has it wins, and a match that can't be loaded is an error rather than passed over. Libraries are never unloaded, so
// descriptors and plugin code live as long as the process.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/descriptor.hpp>
#include <wayfarer/plugin.hpp>

namespace wayfarer::host {

/// All keys that the host itself takes from some node of a pipeline.
inline constexpr std::array<std::string_view, 6> host_keys{"items", "max_tokens", "block", "edits", "precision", "sweep"};
/// Those that it takes from plugins of this kind with these ports: they may not use them for a parameter or port of their own.
std::vector<std::string> host_keys_of(plugin_kind, std::span<port_descriptor const>);

/// "source", "model", "probe", "metric"; "" for what is none of them.
std::string_view name_of(plugin_kind) noexcept;
/// "boolean", "integer", ..., "text list"; "" likewise.
std::string_view name_of(param_type) noexcept;
/// "source", "model", "results"; "" likewise.
std::string_view name_of(port_kind) noexcept;

/// A loaded plugin. Lives as long as the registry that loaded it.
class plugin {
 public:
  plugin(plugin_descriptor const* d, std::filesystem::path library) : d_(d), library_(std::move(library)) {}

  std::string_view id() const noexcept { return d_->id; }
  plugin_kind kind() const noexcept { return d_->kind; }
  std::string_view version() const noexcept { return d_->version; }
  std::string_view build_id() const noexcept { return d_->build_id; }
  std::string_view summary() const noexcept { return d_->summary; }
  std::span<param_descriptor const> params() const noexcept { return {d_->params, d_->param_count}; }
  std::span<port_descriptor const> ports() const noexcept { return {d_->ports, d_->port_count}; }
  param_descriptor const* find_param(std::string_view name) const noexcept;
  /// The fact that a parameter of this plugin's is bound to, "" for none.
  std::string_view fact_of(param_descriptor const& p) const noexcept { return d_->facts[&p - d_->params]; }
  port_descriptor const* find_port(std::string_view name) const noexcept;
  std::filesystem::path const& library() const noexcept { return library_; }

  /// The SDK that it was built against: "0.1".
  std::string sdk() const { return std::to_string(d_->sdk_major) + "." + std::to_string(d_->sdk_minor); }

  /// The plugin's constructor. `Interface` must fit its kind. Whatever it throws comes out unchanged.
  template <class Interface>
  std::unique_ptr<Interface> create(config const& c) const {
    return std::unique_ptr<Interface>(static_cast<Interface*>(construct(c)));
  }

 private:
  plugin_base* construct(config const&) const;
  plugin_descriptor const* d_;
  std::filesystem::path library_;
};

class registry {
 public:
  /// Search folders: `extra` (from --plugin-path), then WAYFARER_PLUGIN_PATH (':'-separated, absolute), then the folder of
  /// bundled plugins (../lib/wayfarer/plugins from the executable, else wayfarer/plugins beside the SDK's own library). Folders
  /// that don't exist are skipped, except those in `extra`: usage_error.
  explicit registry(std::vector<std::filesystem::path> const& extra = {});
  ~registry();
  registry(registry&&) noexcept;
  registry& operator=(registry&&) noexcept;

  /// The plugin of that id, loading its library if need be; null if no folder has one. Throws plugin_error, naming the library
  /// and what to do, if the first match can't be used.
  plugin const* find(std::string_view id);
  /// Ids of all libraries in the search folders, sorted, without loading them.
  std::vector<std::string> ids() const;
  /// Libraries hidden by one of the same id in an earlier folder.
  std::vector<std::filesystem::path> shadowed() const;
  std::vector<std::filesystem::path> const& folders() const noexcept { return folders_; }

 private:
  struct loaded;
  std::vector<std::filesystem::path> folders_;
  std::unique_ptr<loaded> loaded_;
};

/// A library's descriptor: checks the file, loads it (first in a child process, where a crash does no harm), checks its
/// descriptor. Throws plugin_error, and resource_error if no child process can be started.
plugin load_plugin(std::filesystem::path const& library);

}  // namespace wayfarer::host
