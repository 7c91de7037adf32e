"""What a workspace keeps: objects by key, the manifest that names them, and what was erased."""
