#include <wayfarer/digest.hpp>

#include <openssl/evp.h>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

#include "read_log.hpp"

namespace wayfarer {

namespace {

[[noreturn]] void fail() {
  throw resource_error("SHA-256: OpenSSL's libcrypto failed (out of memory, or the digest is disabled)");
}

}  // namespace

void sha256::free_context::operator()(evp_md_ctx_st* c) const noexcept {
  EVP_MD_CTX_free(c);
}

sha256::sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) fail();
}
sha256::sha256(sha256&&) noexcept = default;
sha256& sha256::operator=(sha256&&) noexcept = default;
sha256::~sha256() = default;

sha256& sha256::update(std::span<std::byte const> bytes) {
  if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) fail();
  return *this;
}

sha256& sha256::update(std::string_view text) {
  return update(std::as_bytes(std::span(text)));
}

std::string sha256::hex() const {
  std::unique_ptr<evp_md_ctx_st, free_context> copy(EVP_MD_CTX_new());
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!copy || EVP_MD_CTX_copy_ex(copy.get(), context_.get()) != 1 || EVP_DigestFinal_ex(copy.get(), digest, &size) != 1) fail();
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

std::string sha256_hex(std::string_view text) {
  return sha256().update(text).hex();
}

std::string sha256_file(std::string const& path) {
  read_log::pause const not_for_the_run;
  sha256 digest;
  read_blocks(path, [&](std::span<std::byte const> block) { digest.update(block); });
  return digest.hex();
}

}  // namespace wayfarer
