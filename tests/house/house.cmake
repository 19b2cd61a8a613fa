# The shape of the source tree and of its docs, and the words in them.
foreach(rule arrows counters docs lengths words)
  add_test(NAME house.${rule} COMMAND /usr/bin/python3 ${CMAKE_CURRENT_LIST_DIR}/${rule}_test.py ${PROJECT_SOURCE_DIR})
  set_tests_properties(house.${rule} PROPERTIES LABELS quick)
endforeach()
