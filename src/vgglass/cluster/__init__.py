"""Past one machine, on Ray: prediction over millions of images, and the server with replicas."""
