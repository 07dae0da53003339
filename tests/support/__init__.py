"""What tests share: made recordings, fakes, engines in processes of their own."""
