"""Whether answers stay right under load: `integrity` against the same prompts at another load, `quality` by itself."""
