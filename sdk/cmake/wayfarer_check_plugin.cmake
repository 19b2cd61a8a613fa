# cmake -DPROGRAM=wayfarer -DID=id -DKIND=kind -DFOLDER=folder -P wayfarer_check_plugin.cmake
#
# Run after a plugin is linked: the program must be able to read its descriptor and find the kind there that the build promised.
execute_process(COMMAND ${PROGRAM} plugins describe ${ID} --json --plugin-path ${FOLDER}
  RESULT_VARIABLE code OUTPUT_VARIABLE description ERROR_VARIABLE why)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "the program refuses this plugin: ${why}")
endif()
string(JSON kind GET "${description}" kind)
if(KIND AND NOT kind STREQUAL KIND)
  string(TOUPPER ${kind} macro)
  message(FATAL_ERROR "${ID} is a ${kind}, since it ends with WAYFARER_${macro}; wayfarer_add_plugin was told KIND ${KIND}")
endif()
