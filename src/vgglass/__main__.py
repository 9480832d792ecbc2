from vgglass.cli import main

main()
