// What the tested sources need of interfaces.cpp, which pulls in everything else.
#include <wayfarer/tokenizer.hpp>

namespace wayfarer {

tokenizer::~tokenizer() = default;
pair_tokenizer::~pair_tokenizer() = default;

}  // namespace wayfarer
