#include "plain.inc"

namespace wayfarer::topic_transformer {

template class plain_pass<float>;

}  // namespace wayfarer::topic_transformer
