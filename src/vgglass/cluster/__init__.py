"""More than one machine, on Ray: batch prediction over millions of images, and the server with replicas."""
