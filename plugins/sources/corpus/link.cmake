set(libraries document_files)
