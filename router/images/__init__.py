"""Images: what there is, how it comes to be (builds, snapshots, pulls), where its layers are."""
