# The page of `wayfarer report`: bundled from TypeScript and put into the program. Sets WAYFARER_PAGE, a source file.
find_program(WAYFARER_ESBUILD esbuild)
find_path(WAYFARER_D3 d3-scale/src/index.js PATHS /usr/share/nodejs)
set(page ${CMAKE_CURRENT_LIST_DIR}/page)
if(WAYFARER_ESBUILD AND WAYFARER_D3)
  set(WAYFARER_PAGE ${CMAKE_CURRENT_BINARY_DIR}/page.cpp)
  file(GLOB page_sources CONFIGURE_DEPENDS ${page}/*.ts ${page}/*.css ${page}/licences.txt)
  add_custom_command(OUTPUT ${WAYFARER_PAGE} VERBATIM
    COMMAND ${CMAKE_COMMAND} -E env NODE_PATH=${WAYFARER_D3} ${WAYFARER_ESBUILD} ${page}/main.ts ${page}/style.css --bundle --minify
      --format=iife --target=chrome103,firefox113,safari16.4 --charset=ascii --legal-comments=none --log-level=warning
      --outdir=${CMAKE_CURRENT_BINARY_DIR}/page
    COMMAND ${CMAKE_COMMAND} -DFROM=${CMAKE_CURRENT_BINARY_DIR}/page -DLICENCES=${page}/licences.txt -DTO=${WAYFARER_PAGE}
      -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
    DEPENDS ${page_sources} ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
    COMMENT "Bundling the report's page")
else()
  message(WARNING "esbuild or d3 is missing, so `wayfarer report` is left out; everything else works. apt-get install esbuild node-d3")
  set(WAYFARER_PAGE ${CMAKE_CURRENT_LIST_DIR}/page_missing.cpp)
endif()
