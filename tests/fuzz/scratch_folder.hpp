// A folder in memory for targets whose code reads files. One a process, removed at its end.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

namespace wayfarer::fuzz {

class scratch_folder {
 public:
  scratch_folder() {
    std::string name = (std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/wayfarer-fuzz-XXXXXX");
    if (!mkdtemp(name.data())) std::abort();
    path_ = name;
  }
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  scratch_folder(scratch_folder const&) = delete;
  scratch_folder& operator=(scratch_folder const&) = delete;

  std::string const& path() const { return path_; }
  void write(std::string const& name, std::string_view text) const {
    std::FILE* const f = std::fopen((path_ + "/" + name).c_str(), "wb");
    if (!f || std::fwrite(text.data(), 1, text.size(), f) != text.size() || std::fclose(f) != 0) std::abort();
  }
  void clear() const {
    for (auto const& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove(entry.path());
  }

 private:
  std::string path_;
};

}  // namespace wayfarer::fuzz
