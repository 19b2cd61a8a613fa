#include "plain.inc"

namespace wayfarer::topic_transformer {

template class plain_pass<double>;

}  // namespace wayfarer::topic_transformer
