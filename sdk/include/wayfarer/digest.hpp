// SHA-256: the name of a file's or a configuration's contents, in node keys and in the provenance of a result.
//
// A `sha256` is a running digest owned by one thread. Different objects may be used from different threads.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace wayfarer {

class WAYFARER_API sha256 {
 public:
  /// The digest of nothing. Throws resource_error when OpenSSL can't provide SHA-256.
  sha256();
  sha256(sha256&&) noexcept;
  sha256& operator=(sha256&&) noexcept;
  ~sha256();

  sha256& update(std::span<std::byte const> bytes);
  sha256& update(std::string_view text);
  /// 64 lower-case hexadecimal digits for the bytes so far; more may follow.
  std::string hex() const;

 private:
  template <class>
  friend struct layout_of;
  struct free_context {
    void operator()(evp_md_ctx_st*) const noexcept;
  };
  std::unique_ptr<evp_md_ctx_st, free_context> context_;
};

WAYFARER_API std::string sha256_hex(std::string_view text);
/// Digest of a regular file, read in blocks. Throws as `read_text` does.
WAYFARER_API std::string sha256_file(std::string const& path);

WAYFARER_LAYOUT(sha256, context_);

}  // namespace wayfarer
