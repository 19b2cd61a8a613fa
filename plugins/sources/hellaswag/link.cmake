# ICU: Python's `capitalize` is Unicode's title case.
set(libraries document_files ${icu_LINK_LIBRARIES})
